// What the files of the low-bit family share.
#pragma once

#include "lowbit_form.h"

namespace lianlu::LIANLU_ISA {

/** Bytes of one four of inputs of a panel's unpacked codes. */
constexpr long fourBytes = 4 * panelOutputs;

constexpr long ceilDivide(long a, long b) { return (a + b - 1) / b; }
constexpr long least(long a, long b) { return a < b ? a : b; }

void quantize(uint8_t* blocks, const float* x, long count, WeightScheme scheme);
void dequantize(float* out, const uint8_t* blocks, long count, WeightScheme scheme);
void packQuantized(uint8_t* packed, const uint8_t* blocks, long outputs, long inputs, WeightScheme scheme);
void packAffine(uint8_t* packed, const AffineWeights& weights, long outputs, long inputs, WeightScheme scheme);

}  // namespace lianlu::LIANLU_ISA
