// What the files of the frozen family share.
#pragma once

#include <stdint.h>

namespace lianlu::LIANLU_ISA {

void quantizeNf4(uint8_t* data, const float* weight, long count);

}  // namespace lianlu::LIANLU_ISA
