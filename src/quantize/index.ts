export { createComparison, outputErrors, type Comparison, type Quality } from "./compare.ts";
export { convert, type ConvertOptions, type ConvertResult } from "./convert.ts";
export { defineScheme } from "./define-scheme.ts";
export { quantize, type QuantizeOptions } from "./quantize.ts";
export { formatReport, type QuantizeReport, type TensorReport } from "./report.ts";
export { schemes, type Scheme } from "./scheme.ts";
