// A GGUF file again with every matrix in one type, floats or rounded to nearest: for measuring on real weights.
import { openGguf, writeGguf } from "../src/formats/index.ts";
import { loadKernels } from "../src/kernels/index.ts";

const types = {
  f32: { name: "F32", blockBytes: 128, fileType: 0 },
  q8_0: { name: "Q8_0", blockBytes: 34, fileType: 7 },
  q4_0: { name: "Q4_0", blockBytes: 18, fileType: 2 },
} as const;
/** Numbers a block. */
const blockSize = 32;

/** Writes `path` from `source`; vectors stay as they are. */
export function quantizeFile(source: string, path: string, scheme: keyof typeof types): void {
  const kernels = loadKernels();
  const file = openGguf(source);
  const { name: type, blockBytes, fileType } = types[scheme];
  const encode = (name: string): Uint8Array => {
    const floats = file.floats(name);
    if (scheme === "f32") return new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
    const blocks = new Uint8Array((floats.length / blockSize) * blockBytes);
    kernels.quantize(blocks, floats, scheme);
    return blocks;
  };
  try {
    writeGguf(path, {
      metadata: new Map([...file.metadata, ["general.file_type", { type: "uint32", value: fileType }]]),
      tensors: [...file.tensors].map(([name, { type: stored, shape }]) =>
        shape.length === 1
          ? { name, type: stored, shape, bytes: () => file.bytes(name) }
          : { name, type, shape, bytes: () => encode(name) },
      ),
    });
  } finally {
    file.close();
  }
}
