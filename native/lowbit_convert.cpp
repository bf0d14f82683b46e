// Numbers to blocks of the ggml layouts and back.
#include "lowbit_blocks.h"
#include "lowbit_parts.h"
#include "pool.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Numbers that one claim of conversion takes. */
constexpr long claimNumbers = 1l << 14;

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

template <WeightScheme scheme>
void dequantizeBlock(float* out, const uint8_t* block) {
  constexpr Form form = formOf(scheme);
  uint8_t codes[mostElements];
  BlockScales scales;
  takeApart<scheme>(codes, scales, block);
  const float scaleOf = floatOf(scales.scale) * form.scaleUnit;
  const float minimumOf = form.hasMinimum() ? floatOf(scales.minimum) * form.minimumUnit : 0;
  for (long span = 0; span < form.elements / form.span; span++) {
    const float scale = scaleOf * (float)scales.factors[span];
    const float minimum = form.hasMinimum() ? minimumOf * (float)scales.minimumFactors[span] : 0;
    for (long i = span * form.span; i < (span + 1) * form.span; i++) {
      const int level = form.codes == Codes::bytes   ? (int8_t)codes[i]
                        : form.codes == Codes::coded ? levelsOf(scheme)[codes[i]]
                                                     : codes[i] - form.offset;
      out[i] = form.hasMinimum() ? scale * (float)level + minimum : scale * (float)level;
    }
  }
}

}  // namespace

void quantize(uint8_t* blocks, const float* x, long count, WeightScheme scheme) {
  const long bytes = formOf(scheme).bytes;
  parallelFor(count / blockSize, claimNumbers / blockSize, [&](long begin, long end, int) {
    for (long b = begin; b < end; b++) quantizeBlock(blocks + b * bytes, x + b * blockSize, scheme);
  });
}

void dequantize(float* out, const uint8_t* blocks, long count, WeightScheme scheme) {
  withScheme(scheme, [&](auto is) {
    constexpr Form form = decltype(is)::form;
    if constexpr (form.bytes > 0) {
      parallelFor(count / form.elements, claimNumbers / form.elements, [&](long begin, long end, int) {
        for (long b = begin; b < end; b++) dequantizeBlock<decltype(is)::scheme>(out + b * form.elements, blocks + b * form.bytes);
      });
    }
  });
}

}  // namespace lianlu::LIANLU_ISA
