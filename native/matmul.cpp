// Products of floats by packed panels of 32 columns of B.
#include "matmul.h"

#include "pool.h"
#include "simd.h"

namespace lianlu::LIANLU_ISA {

namespace {

constexpr long blockK = 512;

void packPanel(float* packed, const float* b, long columnStep, long kStep, long columns, long k) {
  for (long p = 0; p < k; p++) {
    for (long j = 0; j < panelColumns; j++) packed[p * panelColumns + j] = j < columns ? b[j * columnStep + p * kStep] : 0;
  }
}

template <int rows>
void tile(float* c, long cStep, const float* a, long aRow, long aK, const float* b, long k, long columns, bool accumulate) {
  vf sums[rows][2];
  for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = zero();
  for (long p = 0; p < k; p++) {
    const vf b0 = load(b + p * panelColumns), b1 = load(b + p * panelColumns + lanes);
    for (int i = 0; i < rows; i++) {
      const vf x = broadcast(a[i * aRow + p * aK]);
      sums[i][0] = fma(x, b0, sums[i][0]);
      sums[i][1] = fma(x, b1, sums[i][1]);
    }
  }
  for (int i = 0; i < rows; i++) {
    for (int v = 0; v < 2; v++) {
      const int count = (int)(columns - v * lanes < lanes ? columns - v * lanes : lanes);
      if (count <= 0) continue;
      float* to = c + i * cStep + v * lanes;
      storeFirst(to, accumulate ? add(loadFirst(to, count), sums[i][v]) : sums[i][v], count);
    }
  }
}

void multiply(float* out, const float* a, long aRow, long aK, const float* packed, long m, long n, long k, bool accumulate) {
  const long panels = (n + panelColumns - 1) / panelColumns;
  parallelFor(m, 4, [&](long begin, long end, int) {
    for (long j = 0; j < panels; j++) {
      const long columns = n - j * panelColumns < panelColumns ? n - j * panelColumns : panelColumns;
      for (long i = begin; i < end; i++) {
        float* c = out + i * n + j * panelColumns;
        if (k == 0 && !accumulate) tile<1>(c, n, a, aRow, aK, packed, 0, columns, false);
        for (long p = 0; p < k; p += blockK) {
          const long depth = k - p < blockK ? k - p : blockK;
          tile<1>(c, n, a + i * aRow + p * aK, aRow, aK, packed + (j * k + p) * panelColumns, depth, columns, accumulate || p > 0);
        }
      }
    }
  });
}

void pack(float* packed, const float* b, long columnStep, long kStep, long n, long k) {
  parallelFor((n + panelColumns - 1) / panelColumns, 1, [&](long begin, long end, int) {
    for (long j = begin; j < end; j++) {
      const long first = j * panelColumns;
      packPanel(packed + first * k, b + first * columnStep, columnStep, kStep, n - first, k);
    }
  });
}

void matmul(float* out, const float* a, const float* b, long m, long n, long k, MatmulForm form, bool accumulate) {
  const long panels = (n + panelColumns - 1) / panelColumns;
  float* packed = static_cast<float*>(sharedScratch((size_t)(panels * panelColumns * k + 1) * sizeof(float)));
  const bool nt = form == MatmulForm::nt, tn = form == MatmulForm::tn;
  pack(packed, b, nt ? k : 1, nt ? 1 : n, n, k);
  multiply(out, a, tn ? 1 : k, tn ? m : 1, packed, m, n, k, accumulate);
}

void packWeight(float* packed, const float* weight, long outputs, long inputs) {
  pack(packed, weight, inputs, 1, outputs, inputs);
}

void matmulPacked(float* out, const float* x, const float* packed, long rows, long outputs, long inputs) {
  multiply(out, x, inputs, 1, packed, rows, outputs, inputs, false);
}

}  // namespace

const MatmulKernels matmulKernels = {matmul, packWeight, matmulPacked};

}  // namespace lianlu::LIANLU_ISA
