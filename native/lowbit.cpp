// Low-bit weights: to and from blocks, into panels, and their product with activations rounded to int8.
#include "lowbit.h"

#include "half.h"
#include "lowbit_tile.h"
#include "pool.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Blocks along the input that all rows of a claim take before the next: they stay in the first-level cache. */
constexpr long chunkBlocks = 16;
/** From this many tiles of rows on, 4-bit weights are unpacked once for all instead of in each. */
constexpr long unpackTiles = 4;
/** Bytes that a single row asks memory for ahead of its reading: pages end where the processor's own foresight does. */
constexpr long rowAhead = 4096;
/** Rows that one claim of work takes at most: their activations stay in the second-level cache. */
constexpr long claimRows = 16l * lowBitRows;
/** Bytes of packed weights that one claim of a single row takes. */
constexpr long claimBytes = 128l << 10;
/** Numbers that one claim of rounding takes, and blocks that one claim of conversion takes. */
constexpr long claimNumbers = 1l << 14, claimBlocks = 512;
/** Products below which waking other threads costs more than it brings. */
constexpr long alone = 1l << 20;

constexpr long ceilDivide(long a, long b) { return (a + b - 1) / b; }
constexpr long least(long a, long b) { return a < b ? a : b; }

/** What an unsigned weight is too high by, as it is packed. */
constexpr int offsetOf(WeightScheme scheme) { return scheme == WeightScheme::q8_0 ? weightBias : 8; }

// ---- blocks -----------------------------------------------------------------

float inverse(float scale) { return scale == 0 ? 0 : 1 / scale; }

/** A level as a whole number, whatever x is. */
int clampLevel(float x, int lowest, int highest) { return x > (float)lowest ? x < (float)highest ? (int)x : highest : lowest; }

/** To the nearest, halves away from zero. */
float roundAway(float x) {
  const double shifted = (double)__builtin_fabsf(x) + 0.5;
  return __builtin_copysignf((float)(long)(shifted < 1e6 ? shifted : 1e6), x);
}

void quantizeBlock(uint8_t* block, const float* x, WeightScheme scheme) {
  float most = 0;
  for (long i = 0; i < blockSize; i++) most = __builtin_fabsf(x[i]) > __builtin_fabsf(most) ? x[i] : most;
  const float scale = scheme == WeightScheme::q8_0 ? __builtin_fabsf(most) / 127 : most / -8;
  const uint16_t half = halfOf(scale);
  memcpy(block, &half, sizeof half);
  const float factor = inverse(scale);
  if (scheme == WeightScheme::q8_0) {
    for (long i = 0; i < blockSize; i++) block[2 + i] = (uint8_t)clampLevel(roundAway(x[i] * factor), -127, 127);
    return;
  }
  for (long i = 0; i < blockSize / 2; i++) {
    const int low = clampLevel(x[i] * factor + 8.5f, 0, 15), high = clampLevel(x[i + blockSize / 2] * factor + 8.5f, 0, 15);
    block[2 + i] = (uint8_t)(low | high << 4);
  }
}

/** Weight i of a block, signed. */
LIANLU_INLINE int levelAt(const uint8_t* block, long i, WeightScheme scheme) {
  if (scheme == WeightScheme::q8_0) return (int8_t)block[2 + i];
  const int both = block[2 + i % (blockSize / 2)];
  return (i < blockSize / 2 ? both & 15 : both >> 4) - 8;
}

LIANLU_INLINE uint16_t scaleOf(const uint8_t* block) {
  uint16_t half;
  memcpy(&half, block, sizeof half);
  return half;
}

void quantize(uint8_t* blocks, const float* x, long count, WeightScheme scheme) {
  parallelFor(count / blockSize, claimBlocks, [&](long begin, long end, int) {
    for (long b = begin; b < end; b++) quantizeBlock(blocks + b * blockBytes(scheme), x + b * blockSize, scheme);
  });
}

void dequantize(float* out, const uint8_t* blocks, long count, WeightScheme scheme) {
  parallelFor(count / blockSize, claimBlocks, [&](long begin, long end, int) {
    for (long b = begin; b < end; b++) {
      const uint8_t* block = blocks + b * blockBytes(scheme);
      const float scale = floatOf(scaleOf(block));
      for (long i = 0; i < blockSize; i++) out[b * blockSize + i] = scale * (float)levelAt(block, i, scheme);
    }
  });
}

void packQuantized(uint8_t* packed, const uint8_t* blocks, long outputs, long inputs, WeightScheme scheme) {
  const long perRow = inputs / blockSize, bytes = packedBlockBytes(scheme);
  parallelFor(ceilDivide(outputs, panelOutputs), 1, [&](long begin, long end, int) {
    for (long panel = begin; panel < end; panel++) {
      for (long b = 0; b < perRow; b++) {
        uint8_t* to = packed + (panel * perRow + b) * bytes;
        uint8_t* weights = to + 2 * panelOutputs;
        memset(to, 0, (size_t)bytes);
        for (long j = 0; j < least(outputs - panel * panelOutputs, panelOutputs); j++) {
          const uint8_t* block = blocks + ((panel * panelOutputs + j) * perRow + b) * blockBytes(scheme);
          memcpy(to + 2 * j, block, 2);
          for (long i = 0; i < blockSize; i++) {
            const int level = levelAt(block, i, scheme) + offsetOf(scheme);
            const long four = i / 4, place = 4 * j + i % 4;
            if (scheme == WeightScheme::q8_0) {
              weights[four * fourBytes + place] = (uint8_t)level;
            } else {
              weights[four / 2 * fourBytes + place] |= (uint8_t)(level << (four % 2 * 4));
            }
          }
        }
      }
    }
  });
}

// ---- activations ------------------------------------------------------------

/** Blocks that are all smaller count as zero: 127 over them would leave float32. */
constexpr float smallestActivation = 1e-30f;

struct RoundedRow {
  int8_t* levels;
  float* scales;
  int32_t* starts;
};

/** A block that holds anything but numbers gets the scale NaN. */
void roundActivations(const RoundedRow& to, const float* x, long blocks, int offset) {
  for (long b = 0; b < blocks; b++) {
    const vf low = load(x + b * blockSize), high = load(x + b * blockSize + lanes);
    const float largestHere = largest(max(abs(low), abs(high)));
    // Zero, or NaN where anything is infinite or NaN.
    const float check = sum(fma(low, zero(), mul(high, zero())));
    const float quotient = largestHere < smallestActivation ? 0 : 127 / largestHere;
    const vf rounded[2] = {round(mul(low, broadcast(quotient))), round(mul(high, broadcast(quotient)))};
    float levels[blockSize];
    store(levels, rounded[0]);
    store(levels + lanes, rounded[1]);
    int total = 0;
    for (long i = 0; i < blockSize; i++) {
      const int level = check == 0 ? (int)levels[i] : 0;
      to.levels[b * blockSize + i] = (int8_t)level;
      total += level;
    }
    to.scales[b] = largestHere / 127 + check;
    to.starts[b] = -offset * total;
  }
}

// ---- the product ------------------------------------------------------------

/** A product as threads see it. */
struct LowBitProduct {
  float* out;
  const uint8_t* packed;
  long rows, outputs;
  WeightScheme scheme;
  Activations x;

  long panelBytes() const { return x.blocks * packedBlockBytes(scheme); }
  int columns(long panel) const { return (int)least(outputs - panel * panelOutputs, panelOutputs); }

  void rowByPanel(long panel) const {
    const long bytes = packedBlockBytes(scheme);
    const uint8_t* from = packed + panel * panelBytes();
    const PanelBlocks blocks{from + 2 * panelOutputs, from, bytes, bytes, from + rowAhead, bytes};
    tileOf(1, false)(out + panel * panelOutputs, outputs, columns(panel), x, 0, 0, x.blocks, blocks, false);
  }

  /** Rows begin..end by one panel, a chunk of blocks at a time. */
  void rowsByPanel(long panel, long begin, long end, void* room) const {
    const long bytes = packedBlockBytes(scheme), tiles = ceilDivide(end - begin, lowBitRows);
    const bool unpacks = scheme == WeightScheme::q4_0 && tiles >= unpackTiles;
    for (long first = 0; first < x.blocks; first += chunkBlocks) {
      const long count = least(chunkBlocks, x.blocks - first);
      const uint8_t* from = packed + panel * panelBytes() + first * bytes;
      PanelBlocks blocks{from + 2 * panelOutputs, from, bytes, bytes, from + chunkBlocks * bytes, bytes};
      if (unpacks) unpack(blocks, count, room);
      // Tiles of nearly the same height; the first fetches the next chunk meanwhile.
      for (long t = 0; t < tiles; t++) {
        const long row = begin + (end - begin) * t / tiles, rowsHere = begin + (end - begin) * (t + 1) / tiles - row;
        float* to = out + row * outputs + panel * panelOutputs;
        tileOf(rowsHere, unpacks)(to, outputs, columns(panel), x, row, first, count, blocks, first > 0);
        blocks.aheadStep = 0;
      }
    }
  }

  static void unpack(PanelBlocks& blocks, long count, void* room) {
    float* scales = static_cast<float*>(room);
    uint8_t* weights = reinterpret_cast<uint8_t*>(scales + chunkBlocks * panelOutputs);
    for (long b = 0; b < count; b++) {
      const uint8_t* from = blocks.weights + b * blocks.weightStep;
      const uint16_t* halves = reinterpret_cast<const uint16_t*>(from - 2 * panelOutputs);
      for (int u = 0; u < 2; u++) {
        store(scales + b * panelOutputs + u * lanes, loadF16(halves + u * lanes));
        for (int f = 0; f < fours; f += 2) {
          const vb both = loadBytes(from + f / 2 * fourBytes + u * vectorBytes);
          uint8_t* to = weights + (b * fours + f) * fourBytes + u * vectorBytes;
          storeBytes(to, lowNibbles(both));
          storeBytes(to + fourBytes, highNibbles(both));
        }
      }
    }
    blocks.weights = weights;
    blocks.scales = scales;
    blocks.weightStep = fours * fourBytes;
    blocks.scaleStep = panelOutputs * sizeof(float);
  }

  using Tile = void (*)(float*, long, int, const Activations&, long, long, long, const PanelBlocks&, bool);

  template <int rows>
  Tile tileOfAtMost(long wanted, bool unpacked) const {
    if (wanted == rows) {
      return scheme == WeightScheme::q8_0 ? lowBitTile<rows, Weights::bytes>
             : unpacked                   ? lowBitTile<rows, Weights::unpackedNibbles>
                                          : lowBitTile<rows, Weights::nibbles>;
    }
    if constexpr (rows > 1) return tileOfAtMost<rows - 1>(wanted, unpacked);
    return nullptr;
  }
  Tile tileOf(long rows, bool unpacked) const { return tileOfAtMost<lowBitRows>(rows, unpacked); }
};

void matmulPacked(float* out, const float* x, const uint8_t* packed, long rows, long outputs, long inputs, WeightScheme scheme) {
  if (rows == 0 || outputs == 0) return;
  if (inputs == 0) {
    memset(out, 0, (size_t)(rows * outputs) * sizeof(float));
    return;
  }
  const long blocks = inputs / blockSize, panels = ceilDivide(outputs, panelOutputs);
  char* room = static_cast<char*>(sharedScratch((size_t)(rows * (inputs + 8 * blocks) + 64)));
  float* scales = reinterpret_cast<float*>(room);
  int32_t* starts = reinterpret_cast<int32_t*>(scales + rows * blocks);
  int8_t* levels = reinterpret_cast<int8_t*>(starts + rows * blocks);
  parallelFor(rows, ceilDivide(claimNumbers, inputs), [&](long begin, long end, int) {
    for (long r = begin; r < end; r++) {
      roundActivations({levels + r * inputs, scales + r * blocks, starts + r * blocks}, x + r * inputs, blocks, offsetOf(scheme));
    }
  });
  const LowBitProduct product{out, packed, rows, outputs, scheme, {levels, scales, starts, inputs, blocks}};
  const bool inPlace = rows * outputs * inputs <= alone;
  if (rows == 1) {
    parallelFor(panels, inPlace ? panels : ceilDivide(claimBytes, product.panelBytes()), [&](long begin, long end, int) {
      for (long panel = begin; panel < end; panel++) product.rowByPanel(panel);
    });
    return;
  }
  const ThreadScratch own = threadScratch(chunkBlocks * (panelOutputs * sizeof(float) + fours * fourBytes));
  // Claims run over the panels for some rows, then for the next rows: activations stay, weights stream.
  const long parts = ceilDivide(rows, claimRows);
  parallelFor(panels * parts, inPlace ? panels * parts : 1, [&](long begin, long end, int thread) {
    for (long claim = begin; claim < end; claim++) {
      const long part = claim / panels;
      product.rowsByPanel(claim % panels, rows * part / parts, rows * (part + 1) / parts, own.of(thread));
    }
  });
}

}  // namespace

const LowBitKernels lowBitKernels = {quantize, dequantize, packQuantized, matmulPacked};

}  // namespace lianlu::LIANLU_ISA
