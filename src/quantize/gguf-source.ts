// A GGUF file as a source of tensors: names, order, metadata and tokenizer are kept as they are.
import { statSync } from "node:fs";
import { openGguf } from "../formats/gguf.ts";
import { configFromGguf, ggufPlaces } from "../model/index.ts";
import type { ModelSource } from "./source.ts";

export function openGgufSource(path: string): ModelSource {
  const file = openGguf(path);
  try {
    const config = configFromGguf(file);
    const places = new Map(ggufPlaces(config).map((place) => [place.name, place]));
    const metadata = new Map(file.metadata);
    metadata.delete("general.file_type");
    const fileType = file.metadata.get("general.file_type")?.value;
    return {
      path,
      config,
      metadata,
      ...(typeof fileType === "number" && { fileType }),
      tensors: [...file.tensors].map(([name, { type, shape }]) => ({
        name,
        // Tensors without a place, such as rope factors, are vectors that are carried along.
        source: places.get(name)?.source ?? name,
        role: places.get(name)?.role ?? "norm",
        shape,
        type,
        floats: () => file.floats(name),
        bytes: () => file.bytes(name),
      })),
      bytes: statSync(path).size,
      differences: [],
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}
