// A configuration as it is put together from another tool's, with what could not be carried over and why.
import type { DataSource, PreferenceObjective } from "../../train/index.ts";

/** What is not carried over, or not quite: the name as it stands in the file that is read. */
export interface ImportNote {
  name: string;
  reason: string;
}

/** The fields of a configuration that are written; those that stay as they are by default are left out. */
export interface Draft {
  kind: "finetune" | "prefer";
  model: string;
  objective?: PreferenceObjective;
  data: DataSource[];
  validation?: DataSource[];
  validationShare?: number;
  out: string;
  until: { steps: number } | { epochs: number };
  method: "lora" | "full";
  base?: "stored" | "nf4";
  lora?: {
    rank: number;
    alpha: number;
    targets: "all-linear" | string[];
    dropout?: number;
    rslora?: boolean;
    dora?: boolean;
  };
  examples: {
    format?: string;
    mask: "xtuner" | "llama-factory";
    maxLength: number;
    tooLong: "drop" | "turn" | "cut";
    lastTurnOnly?: boolean;
    templateOptions?: Record<string, unknown>;
  };
  batchTokens: number;
  accumulate: number;
  schedule: {
    kind: "constant" | "cosine" | "linear" | "wsd";
    peak: number;
    warmupShare?: number;
    warmupSteps?: number;
    finalShare?: number;
  };
  optimizer: {
    kind: "adamw" | "muon" | "sgd";
    beta1?: number;
    beta2?: number;
    eps?: number;
    weightDecay: number;
    clip: number;
  };
  chat?: { every: number; prompts: string[]; system?: string };
  validateEvery?: number;
  snapshotEvery?: number;
  keepSaves?: number;
  tensorboard?: string;
  seed?: number;
}

export interface ImportedConfig {
  tool: "XTuner" | "LLaMA-Factory";
  draft: Draft;
  notes: ImportNote[];
}
