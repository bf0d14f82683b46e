// The door to native/matmul.cpp: float32 products.
import type { Floats, Kernels, MatmulForm, PackedWeight } from "../kernels.ts";
import { apart, floats32, whole } from "../check.ts";
import { addon } from "./addon.ts";

interface Functions {
  matmul(
    out: Float32Array,
    a: Float32Array,
    b: Float32Array,
    m: number,
    n: number,
    k: number,
    form: number,
    accumulate: boolean,
  ): void;
  packWeight(packed: Float32Array, weight: Float32Array, outputs: number, inputs: number): void;
  matmulPacked(
    out: Float32Array,
    x: Float32Array,
    packed: Float32Array,
    rows: number,
    outputs: number,
    inputs: number,
  ): void;
}

/** The order of native/matmul.h. */
const forms: readonly MatmulForm[] = ["nn", "nt", "tn"];
const panelColumns = 32;

export function nativeMatmul(): Pick<Kernels, "matmul" | "packWeight"> & {
  matmulPackedFloats: Kernels["matmulPacked"];
} {
  const native = addon<Functions>();
  return {
    matmul(out, a, b, m, n, k, form, accumulate) {
      whole("matmul", "m", m, 0);
      whole("matmul", "n", n, 0);
      whole("matmul", "k", k, 0);
      floats32("matmul", "out", out, m * n);
      floats32("matmul", "a", a, m * k);
      floats32("matmul", "b", b, k * n);
      apart("matmul", "out", out, "a", a);
      apart("matmul", "out", out, "b", b);
      const index = forms.indexOf(form);
      if (index < 0) throw new RangeError(`matmul: form is '${form}', expected one of: ${forms.join(", ")}`);
      native.matmul(out, a, b, m, n, k, index, accumulate);
    },
    packWeight(weight: Floats, outputs: number, inputs: number): PackedWeight {
      whole("packWeight", "outputs", outputs, 0);
      whole("packWeight", "inputs", inputs, 0);
      floats32("packWeight", "weight", weight, outputs * inputs);
      const data = native.allocate(Math.ceil(outputs / panelColumns) * panelColumns * inputs);
      native.packWeight(data, weight, outputs, inputs);
      return { scheme: "f32", outputs, inputs, data };
    },
    matmulPackedFloats(out, x, weight, rows) {
      const { outputs, inputs, data } = weight;
      whole("matmulPacked", "rows", rows, 0);
      whole("matmulPacked", "weight.outputs", outputs, 0);
      whole("matmulPacked", "weight.inputs", inputs, 0);
      floats32("matmulPacked", "out", out, rows * outputs);
      floats32("matmulPacked", "x", x, rows * inputs);
      floats32(
        "matmulPacked",
        "weight.data",
        data as Floats,
        Math.ceil(outputs / panelColumns) * panelColumns * inputs,
      );
      apart("matmulPacked", "out", out, "x", x);
      apart("matmulPacked", "out", out, "weight.data", data);
      native.matmulPacked(out, x, data as Float32Array, rows, outputs, inputs);
    },
  };
}
