export * from "./errors.ts";
export * from "./job.ts";
export * from "./language-model.ts";
export * from "./message.ts";
export * from "./nearest.ts";
export * from "./served-model.ts";
