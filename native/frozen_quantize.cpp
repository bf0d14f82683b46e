// Floats to NF4 with double quantization.
#include "frozen_parts.h"
#include "integers.h"
#include "nf4.h"
#include "pool.h"
#include "spans.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Blocks, and groups of scales, that a thread claims at a time. */
constexpr long claimBlocks = 256, claimGroups = 8;
/** Scales smaller than this count as it, so that a block of zeros has a quotient. */
constexpr float smallestScale = 1e-38f;

/** Middles between neighbours: a number's code is how many are below it, so the nearest, or the lower of two as near. */
template <int codes>
struct Middles {
  float at[codes - 1];
  explicit constexpr Middles(const float* numbers) : at{} {
    for (int i = 0; i + 1 < codes; i++) at[i] = (numbers[i] + numbers[i + 1]) / 2;
  }
};
constexpr Middles<16> nf4Middles(nf4Table);
constexpr Middles<256> mapMiddles(dynamicMap.at);

int mapCodeOf(float x) {
  int code = 0;
  for (int step = 128; step > 0; step /= 2) {
    if (x > mapMiddles.at[code + step - 1]) code += step;
  }
  return code;
}

float magnitude(const float* x, long count) {
  vf most = zero();
  forVectors(0, count, [&](long i, auto part) { most = max(abs(part.get(x + i)), most); });
  return largest(most);
}

/** The factor that brings numbers up to `scale` within -1..1. */
float quotientOf(float scale) { return 1 / (scale > smallestScale ? scale : smallestScale); }

/** 64 numbers to 32 bytes of codes. */
void encodeBlock(uint8_t* to, const float* x, float scale) {
  const vf quotient = broadcast(quotientOf(scale)), one = broadcast(1);
  int8_t codes[nf4Block];
  for (long i = 0; i < nf4Block; i += lanes) {
    const vf scaled = mul(load(x + i), quotient);
    vf code = zero();
    LIANLU_UNROLL
    for (int j = 0; j < 15; j++) code = add(code, whereLess(broadcast(nf4Middles.at[j]), scaled, one, zero()));
    storeInt8(codes + i, code);
  }
  for (long i = 0; i < nf4Block / 2; i++) to[i] = (uint8_t)(codes[2 * i] << 4 | codes[2 * i + 1]);
}

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
      uint8_t* codes = data + block * nf4Block / 2;
      if (numbers == nf4Block) {
        encodeBlock(codes, x, scales[block]);
      } else {
        float rest[nf4Block] = {};
        uint8_t bytes[nf4Block / 2];
        memcpy(rest, x, (size_t)numbers * sizeof(float));
        encodeBlock(bytes, rest, scales[block]);
        memcpy(codes, bytes, (size_t)(numbers + 1) / 2);
      }
    }
  });
  double sum = 0;
  for (long block = 0; block < parts.blocks; block++) sum += (double)scales[block];
  const float mean = parts.blocks ? (float)(sum / (double)parts.blocks) : 0;
  for (long block = 0; block < parts.blocks; block++) scales[block] -= mean;
  parallelFor(parts.groups, claimGroups, [&](long begin, long end, int) {
    for (long group = begin; group < end; group++) {
      const long first = group * nf4Group, size = least(parts.blocks - first, nf4Group);
      const float factor = magnitude(scales + first, size), quotient = quotientOf(factor);
      memcpy(data + parts.factorsAt() + 4 * group, &factor, sizeof factor);
      for (long i = first; i < first + size; i++) data[parts.scalesAt() + i] = (uint8_t)mapCodeOf(scales[i] * quotient);
    }
  });
  memcpy(data + parts.meanAt(), &mean, sizeof mean);
}

}  // namespace lianlu::LIANLU_ISA
