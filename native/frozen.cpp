// Products by frozen weights: a part of the weight is decoded into packed panels, which are multiplied and written over by
// the next part. The order of sums is that of the product of floats, so the bits are too.
#include "frozen.h"

#include "frozen_parts.h"
#include "frozen_rows.h"
#include "matmul_bf16_parts.h"
#include "matmul_parts.h"
#include "pool.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Floats of the weight that are decoded at once: 8 MiB, for all threads together. */
constexpr long partFloats = 2l << 20;
/** Along k in one part; a multiple of every scheme's block. */
constexpr long partDepth = 1024;
/** Numbers of a row that are decoded at a time: they stay in the first-level cache. A multiple of every block. */
constexpr long runNumbers = 256;
/** Rows of the weight, for a product that takes them as they lie, that one task decodes. */
constexpr long taskRows = 16;

/** Panels of 32 outputs, `depth` inputs from `p` on: rows are decoded 16 at a time, then turned. */
void packTurned(float* panels, const FrozenWeight& weight, DecodeRun decode, long firstOutput, long outputs, long p, long depth) {
  parallelFor(ceilDivide(outputs, panelColumns), 1, [&](long begin, long end, int) {
    // The step keeps rows from falling on the same places of the cache.
    constexpr long step = runNumbers + lanes;
    alignas(64) float rows[lanes * step];
    for (long j = begin; j < end; j++) {
      float* panel = panels + j * panelColumns * depth;
      for (int half = 0; half < panelColumns; half += lanes) {
        const long first = j * panelColumns + half, count = least(outputs - first, (long)lanes);
        for (long done = 0; done < depth; done += runNumbers) {
          const long numbers = least(depth - done, runNumbers);
          for (long i = 0; i < lanes; i++) {
            if (i < count) {
              decode(rows + i * step, weight, firstOutput + first + i, p + done, numbers);
            } else {
              memset(rows + i * step, 0, (size_t)numbers * sizeof(float));
            }
          }
          long q = 0;
          float* to = panel + done * panelStep + half;
          for (; q + lanes <= numbers; q += lanes) transpose16(to + q * panelStep, panelStep, rows + q, step);
          for (; q < numbers; q++) {
            for (int i = 0; i < lanes; i++) to[q * panelStep + i] = rows[i * step + q];
          }
        }
      }
    }
  });
}

/** Panels of 32 inputs, `depth` outputs from `p` on: a row of the weight is a line of every panel. */
void packAsItLies(float* panels, const FrozenWeight& weight, DecodeRun decode, long firstInput, long inputs, long p, long depth) {
  parallelFor(ceilDivide(depth, taskRows), 1, [&](long begin, long end, int) {
    alignas(64) float run[runNumbers];
    for (long task = begin; task < end; task++) {
      for (long done = 0; done < inputs; done += runNumbers) {
        const long numbers = least(inputs - done, runNumbers);
        for (long row = task * taskRows; row < least(depth, (task + 1) * taskRows); row++) {
          decode(run, weight, p + row, firstInput + done, numbers);
          for (long i = 0; i < numbers; i += panelColumns) {
            packPanel(panels + (done + i) * depth + row * panelStep, run + i, 0, (int)least(numbers - i, panelColumns), 1);
          }
        }
      }
    }
  });
}

void multiply(float* out, const float* x, const FrozenWeight& weight, long rows, bool turned, bool accumulate) {
  const long n = turned ? weight.outputs : weight.inputs, k = turned ? weight.inputs : weight.outputs;
  if (rows == 0 || n == 0) return;
  if (k == 0) {
    if (!accumulate) memset(out, 0, (size_t)(rows * n) * sizeof(float));
    return;
  }
  const DecodeRun decode = decoderOf(weight.scheme);
  const long depthMost = least(k, partDepth), columnsMost = partFloats / partDepth;
  const long panelFloats = ceilDivide(least(n, columnsMost), panelColumns) * panelColumns * depthMost;
  const bool copies = colliding(rows, k);
  const long rowsMost = copies ? least(rows, partFloats / depthMost) : rows, copyStep = depthMost + lanes;
  float* panels = static_cast<float*>(sharedScratch((size_t)(panelFloats + (copies ? rowsMost * copyStep : 0)) * sizeof(float)));
  float* copy = panels + panelFloats;
  for (long p = 0; p < k; p += partDepth) {
    const long depth = least(k - p, partDepth);
    for (long column = 0; column < n; column += columnsMost) {
      const long columns = least(n - column, columnsMost);
      (turned ? packTurned : packAsItLies)(panels, weight, decode, column, columns, p, depth);
      for (long row = 0; row < rows; row += rowsMost) {
        const long count = least(rows - row, rowsMost);
        const float* a = x + row * k + p;
        // Where one copy has room for all rows it serves all columns.
        if (copies && (column == 0 || rowsMost < rows)) {
          parallelFor(count, spanRows(depth), [&](long begin, long end, int) {
            for (long r = begin; r < end; r++) memcpy(copy + r * copyStep, a + r * k, (size_t)depth * sizeof(float));
          });
        }
        multiplyPanels(out + row * n + column, n, copies ? copy : a, copies ? copyStep : k, panels, count, columns, depth,
                       accumulate || p > 0);
      }
    }
  }
}

#if defined(LIANLU_SIMD_AVX512)

/** Of a product in bfloat16 so many columns are decoded at once, to floats that stay in cache until they are packed. */
constexpr long bf16Columns = 512;
/** Rows that are packed at once. */
constexpr long bf16Rows = 256l * tileRows;
/** Lines of the weight that a thread claims for decoding. */
constexpr long claimLines = 8;

void multiplyBf16(float* out, const float* x, const FrozenWeight& weight, long rows, bool turned, bool accumulate) {
  const long n = turned ? weight.outputs : weight.inputs, k = turned ? weight.inputs : weight.outputs;
  if (rows == 0 || n == 0) return;
  if (k == 0) {
    if (!accumulate) memset(out, 0, (size_t)(rows * n) * sizeof(float));
    return;
  }
  const DecodeRun decode = decoderOf(weight.scheme);
  const long depthMost = least(k, partDepth), columnsMost = least(n, bf16Columns), rowsMost = least(rows, bf16Rows);
  const long rowWords = bf16RowWords(rowsMost, depthMost), columnWords = bf16ColumnWords(columnsMost, depthMost);
  // The step keeps lines from falling on the same places of the cache.
  const long step = (turned ? depthMost : columnsMost) + lanes, lineCount = turned ? columnsMost : depthMost;
  uint32_t* packedA = static_cast<uint32_t*>(sharedScratch((size_t)(rowWords + columnWords + lineCount * step) * 4));
  uint32_t* packedB = packedA + rowWords;
  float* block = reinterpret_cast<float*>(packedB + columnWords);
  for (long p = 0; p < k; p += partDepth) {
    const long depth = least(k - p, partDepth);
    for (long column = 0; column < n; column += bf16Columns) {
      const long columns = least(n - column, bf16Columns);
      const long first = turned ? p : column, numbers = turned ? depth : columns, firstLine = turned ? column : p;
      parallelFor(turned ? columns : depth, claimLines, [&](long begin, long end, int) {
        for (long line = begin; line < end; line++) decode(block + line * step, weight, firstLine + line, first, numbers);
      });
      for (long row = 0; row < rows; row += rowsMost) {
        multiplyBf16Part({.out = out + row * n + column,
                          .outStep = n,
                          .m = least(rows - row, rowsMost),
                          .n = columns,
                          .depth = depth,
                          .accumulate = accumulate || p > 0,
                          .a = x + row * k + p,
                          .aStep = k,
                          .b = block,
                          .bStep = step,
                          .turned = turned,
                          .packedA = packedA,
                          .packedB = packedB,
                          .packsA = column == 0 || rowsMost < rows});
      }
    }
  }
}

#else

constexpr decltype(FrozenKernels::multiplyBf16) multiplyBf16 = nullptr;

#endif

void decode(float* out, const FrozenWeight& weight, long firstRow, long rows) {
  if (weight.inputs == 0) return;
  const DecodeRun decodeRun = decoderOf(weight.scheme);
  parallelFor(rows, spanRows(weight.inputs), [&](long begin, long end, int) {
    for (long row = begin; row < end; row++) decodeRun(out + row * weight.inputs, weight, firstRow + row, 0, weight.inputs);
  });
}

}  // namespace

const FrozenKernels frozenKernels = {multiply, multiplyBf16, decode, quantizeNf4};

}  // namespace lianlu::LIANLU_ISA
