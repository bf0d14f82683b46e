// The product by low-bit weights: activations rounded to int8, then panels in tiles.
#include "lowbit.h"

#include "lowbit_few.h"
#include "pool.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Rows that one claim of work takes at most: their activations stay in the second-level cache. */
constexpr long claimRows = 16l * lowBitRows;
/** Bytes of packed weights that one claim of few rows takes. */
constexpr long claimBytes = 128l << 10;
/** Numbers that one claim of rounding takes. */
constexpr long claimNumbers = 1l << 14;
/** Products below which waking other threads costs more than it brings. */
constexpr long alone = 1l << 20;

// ---- activations ------------------------------------------------------------

/** Blocks that are all smaller count as zero: 127 over them would leave float32. */
constexpr float smallestActivation = 1e-30f;

struct RoundedRow {
  int8_t* levels;
  float* scales;
  int32_t* starts;
  float* sums;
};

/** A block that holds anything but numbers gets the scale NaN. */
template <WeightScheme scheme>
void roundActivations(const RoundedRow& to, const float* x, long blocks, int offset) {
  constexpr Form form = formOf(scheme);
  for (long b = 0; b < blocks; b++) {
    const vf low = load(x + b * blockSize), high = load(x + b * blockSize + lanes);
    const float largestHere = largest(max(abs(low), abs(high)));
    // Zero, or NaN where anything is infinite or NaN.
    const float check = sum(fma(low, zero(), mul(high, zero())));
    const float quotient = largestHere < smallestActivation ? 0 : 127 / largestHere;
    vf rounded[2] = {round(mul(low, broadcast(quotient))), round(mul(high, broadcast(quotient)))};
    if (check != 0) rounded[0] = rounded[1] = zero();
    storeInt8(to.levels + b * blockSize, rounded[0]);
    storeInt8(to.levels + b * blockSize + lanes, rounded[1]);
    // Whole numbers: exact in any order.
    const bool whole = form.span == blockSize;
    const float totals[2] = {sum(whole ? add(rounded[0], rounded[1]) : rounded[0]), whole ? 0 : sum(rounded[1])};
    for (long s = 0; s < form.spans(); s++) {
      const long at = b * form.spans() + s;
      const float scale = largestHere / 127 + check;
      to.scales[at] = scale;
      if (form.hasMinimum()) to.sums[at] = scale * totals[s];
      else to.starts[at] = -offset * (int)totals[s];
    }
  }
}

// ---- the product ------------------------------------------------------------

/** A product as threads see it. */
template <WeightScheme scheme>
struct LowBitProduct {
  static constexpr Form form = formOf(scheme);
  static constexpr TileKind kind{form.codes == Codes::bytes   ? Weights::bytes
                                 : form.codes == Codes::coded ? Weights::unpackedSigned
                                                              : Weights::unpackedUnsigned,
                                 form.span, form.hasMinimum()};
  /** What an unsigned weight is too high by, as tiles see it. */
  static constexpr int offset = form.codes == Codes::bytes || form.codes == Codes::coded ? weightBias : form.offset;

  float* out;
  const uint8_t* packed;
  long rows, outputs;
  Activations x;

  long blocks() const { return x.inputs / blockSize; }
  long panelBytes() const { return form.panelBytes(blocks()); }
  int columns(long panel) const { return (int)least(outputs - panel * panelOutputs, panelOutputs); }

  /** The rows, at most `most`, by one panel. */
  template <int most>
  void fewByPanelOf(long panel) const {
    if constexpr (most > 1) {
      if (rows <= most - 2 || rows == 1) return fewByPanelOf<fewTileRows(most - 2)>(panel);
    }
    fewByPanel<most, scheme>(out + panel * panelOutputs, outputs, columns(panel), (int)rows, x, packed + panel * panelBytes());
  }

  /** Rows begin..end by one panel, a chunk of blocks at a time. */
  void rowsByPanel(long panel, long begin, long end, Unpacked& room) const {
    const long tiles = ceilDivide(end - begin, lowBitRows);
    for (long first = 0; first < blocks(); first += chunkBlocks) {
      const long count = least(chunkBlocks, blocks() - first), bytes = form.blockBytes();
      const uint8_t* from = packed + panel * panelBytes() + form.panelBytes(first);
      const uint8_t* next = from + form.panelBytes(count);
      PanelSpans spans{from + form.scaleBytes(), from, nullptr, bytes, bytes, next, bytes / form.spans()};
      if constexpr (form.codes != Codes::bytes) {
        unpack<scheme>(room, from, count);
        spans.codes = room.codes;
        spans.scales = room.scales;
        spans.minimums = room.minimums;
        spans.codeStep = form.span * panelOutputs;
        spans.scaleStep = panelOutputs * sizeof(float);
      }
      // Tiles of nearly the same height; the first fetches the next chunk meanwhile.
      for (long t = 0; t < tiles; t++) {
        const long row = begin + (end - begin) * t / tiles, rowsHere = begin + (end - begin) * (t + 1) / tiles - row;
        float* to = out + row * outputs + panel * panelOutputs;
        const Tile tile = tileOf<lowBitRows>(rowsHere);
        tile(to, outputs, columns(panel), x, row, first * form.spans(), count * form.spans(), spans, first > 0);
        spans.aheadStep = 0;
      }
    }
  }

  using Tile = void (*)(float*, long, int, const Activations&, long, long, long, const PanelSpans&, bool);

  /** The tile of `wanted` rows, which are at most `most`. */
  template <int most>
  static Tile tileOf(long wanted) {
    if constexpr (most > 1) {
      if (wanted < most) return tileOf<most - 1>(wanted);
    }
    return lowBitTile<most, kind>;
  }

  void run() const {
    const long panels = ceilDivide(outputs, panelOutputs);
    const bool inPlace = rows * outputs * x.inputs <= alone;
    if (rows <= fewRows) {
      parallelFor(panels, inPlace ? panels : ceilDivide(claimBytes, panelBytes()), [&](long begin, long end, int) {
        for (long panel = begin; panel < end; panel++) fewByPanelOf<fewRows>(panel);
      });
      return;
    }
    const ThreadScratch own = threadScratch(sizeof(Unpacked));
    // Claims run over the panels for some rows, then for the next rows: activations stay, weights stream.
    const long parts = ceilDivide(rows, claimRows);
    parallelFor(panels * parts, inPlace ? panels * parts : 1, [&](long begin, long end, int thread) {
      for (long claim = begin; claim < end; claim++) {
        const long part = claim / panels;
        Unpacked& room = *static_cast<Unpacked*>(own.of(thread));
        rowsByPanel(claim % panels, rows * part / parts, rows * (part + 1) / parts, room);
      }
    });
  }
};

void matmulPacked(float* out, const float* x, const uint8_t* packed, long rows, long outputs, long inputs, WeightScheme scheme) {
  if (rows == 0 || outputs == 0) return;
  if (inputs == 0) {
    memset(out, 0, (size_t)(rows * outputs) * sizeof(float));
    return;
  }
  withScheme(scheme, [&](auto is) {
    using Product = LowBitProduct<decltype(is)::scheme>;
    const long blocks = inputs / blockSize, spans = inputs / Product::form.span;
    // With the zeros that fill a tile up.
    const long held = rows > fewRows ? rows : fewTileRows(rows);
    char* room = static_cast<char*>(sharedScratch((size_t)(held * (inputs + 8 * spans) + 64)));
    float* scales = reinterpret_cast<float*>(room);
    // Starts or sums, whichever the form needs.
    char* rest = reinterpret_cast<char*>(scales + held * spans);
    int32_t* starts = reinterpret_cast<int32_t*>(rest);
    float* sums = reinterpret_cast<float*>(rest);
    int8_t* levels = reinterpret_cast<int8_t*>(rest + held * spans * 4);
    parallelFor(rows, ceilDivide(claimNumbers, inputs), [&](long begin, long end, int) {
      for (long r = begin; r < end; r++) {
        const RoundedRow to{levels + r * inputs, scales + r * spans, starts + r * spans, sums + r * spans};
        roundActivations<decltype(is)::scheme>(to, x + r * inputs, blocks, Product::offset);
      }
    });
    for (long r = rows; r < held; r++) {
      memset(levels + r * inputs, 0, (size_t)inputs);
      memset(scales + r * spans, 0, (size_t)spans * sizeof(float));
      memset(starts + r * spans, 0, (size_t)spans * sizeof(int32_t));
    }
    Product{out, packed, rows, outputs, {levels, scales, starts, sums, inputs, spans}}.run();
  });
}

}  // namespace

const LowBitKernels lowBitKernels = {quantize, dequantize, packQuantized, packAffine, matmulPacked};

}  // namespace lianlu::LIANLU_ISA
