// Floats to NF4 with double quantization.
#include "frozen_parts.h"
#include "nf4.h"
#include "pool.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Blocks that a thread claims at a time; even, so that no byte has codes of two claims. */
constexpr long claimBlocks = 256;
/** Scales smaller than this count as it, so that a block of zeros has a quotient. */
constexpr float smallestScale = 1e-38f;

/** The code whose number is nearest, the lower of two as near: as many as there are middles below x. */
template <int codes>
struct Middles {
  float at[codes - 1];
  explicit constexpr Middles(const float* numbers) : at{} {
    for (int i = 0; i + 1 < codes; i++) at[i] = (numbers[i] + numbers[i + 1]) / 2;
  }
  int codeOf(float x) const {
    int code = 0;
    for (int step = codes / 2; step > 0; step /= 2) {
      if (x > at[code + step - 1]) code += step;
    }
    return code;
  }
};
constexpr Middles<16> nf4Middles(nf4Table);
constexpr Middles<256> mapMiddles(dynamicMap.at);

float magnitude(const float* x, long count) {
  float most = 0;
  for (long i = 0; i < count; i++) {
    const float size = __builtin_fabsf(x[i]);
    most = size > most ? size : most;
  }
  return most;
}

/** The factor that brings numbers up to `scale` within -1..1. */
float quotientOf(float scale) { return 1 / (scale > smallestScale ? scale : smallestScale); }

long least(long a, long b) { return a < b ? a : b; }

}  // namespace

void quantizeNf4(uint8_t* data, const float* weight, long count) {
  const Nf4Parts parts(count);
  float* scales = static_cast<float*>(sharedScratch((size_t)(parts.blocks ? parts.blocks : 1) * sizeof(float)));
  parallelFor(parts.blocks, claimBlocks, [&](long begin, long end, int) {
    for (long block = begin; block < end; block++) {
      const float* x = weight + block * nf4Block;
      const long numbers = least(count - block * nf4Block, nf4Block);
      scales[block] = magnitude(x, numbers);
      const float quotient = quotientOf(scales[block]);
      uint8_t* codes = data + block * nf4Block / 2;
      for (long i = 0; i < numbers; i += 2) {
        const int high = nf4Middles.codeOf(x[i] * quotient), low = i + 1 < numbers ? nf4Middles.codeOf(x[i + 1] * quotient) : 7;
        codes[i / 2] = (uint8_t)(high << 4 | low);
      }
    }
  });
  double sum = 0;
  for (long block = 0; block < parts.blocks; block++) sum += (double)scales[block];
  const float mean = parts.blocks ? (float)(sum / (double)parts.blocks) : 0;
  for (long block = 0; block < parts.blocks; block++) scales[block] -= mean;
  for (long group = 0; group < parts.groups; group++) {
    const long first = group * nf4Group, size = least(parts.blocks - first, nf4Group);
    const float factor = magnitude(scales + first, size), quotient = quotientOf(factor);
    memcpy(data + parts.factorsAt() + 4 * group, &factor, sizeof factor);
    for (long i = first; i < first + size; i++) data[parts.scalesAt() + i] = (uint8_t)mapMiddles.codeOf(scales[i] * quotient);
  }
  memcpy(data + parts.meanAt(), &mean, sizeof mean);
}

}  // namespace lianlu::LIANLU_ISA
