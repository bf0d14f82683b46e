export { addLora, attachAdapter } from "./add.ts";
export { loadAdapter, readAdapter, saveAdapter } from "./files.ts";
export { mergeInto, mergeLora } from "./merge.ts";
export { loraFactor, type LoraOptions } from "./options.ts";
export { adapterTensors, replaceAdaptable, setAdapters, type LoraPair } from "./pair.ts";
