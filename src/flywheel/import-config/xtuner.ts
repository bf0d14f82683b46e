// XTuner's configs of the common shape: settings as assignments at the top, model, dataset and optimizer as dicts below.
import { Failure } from "../../protocol/errors.ts";
import { dpoLosses, type DataSource, type PreferenceObjective } from "../../train/index.ts";
import type { Draft, ImportedConfig, ImportNote } from "./draft.ts";
import { isDict, nameOf, readPython, type PythonDict, type PythonFile, type PythonValue } from "./python.ts";

/** What a run here needs nothing said of: how Python loads, deals out and shows things. */
const machinery = new Set(
  (
    "batch_size dataloader_num_workers tokenizer model train_dataset train_dataloader optim_wrapper param_scheduler train_cfg " +
    "custom_hooks default_hooks env_cfg visualizer log_level load_from resume randomness log_processor prompt_template " +
    "pretrained_model_name_or_path max_length max_packed_length pack_to_max_length accumulative_counts max_epochs max_iters " +
    "optim_type lr betas weight_decay max_norm warmup_ratio warm_up_ratio save_steps save_total_limit evaluation_freq " +
    "evaluation_inputs SYSTEM evaluation_images use_varlen_attn sampler work_dir launcher log_interval default_scope " +
    "dpo_loss_type loss_beta label_smoothing reward_token_id loss_type penalty_type group_by_length cfg"
  ).split(" "),
);

/** Formats that the functions which map datasets read. */
const mapFunctions: Readonly<Record<string, string>> = {
  alpaca_map_fn: "alpaca",
  alpaca_zh_map_fn: "alpaca",
  oasst1_map_fn: "guanaco",
  openai_map_fn: "messages",
  code_alpaca_map_fn: "completion",
  pretrain_map_fn: "text",
  default_map_fn: "xtuner",
};

/** Reads a config. Throws Failure("input") where it trains nothing that can be trained here. */
export function readXtuner(source: string, file: string): ImportedConfig {
  const python = readPython(source, file);
  const { values } = python;
  const notes: ImportNote[] = [];
  const note = (name: string, reason: string): void => void notes.push({ name, reason });
  const number = (name: string): number | undefined => numberOf(values.get(name));
  const model = dictOf(values.get("model"));
  const llm = dictOf(model["llm"]);

  const path = values.get("pretrained_model_name_or_path") ?? llm["pretrained_model_name_or_path"];
  if (typeof path !== "string") {
    throw new Failure(
      "input",
      `${file}: there is no pretrained_model_name_or_path.`,
      "Only configs of the common shape are read: settings as assignments at the top.",
    );
  }
  const objective = objectiveOf(model, file, note);
  const maxLength = number("max_length") ?? numberOf(trainDataset(values)["max_length"]) ?? 2048;
  if (!values.has("max_length")) note("max_length", `it is not known, so ${maxLength} stands there`);
  const perDevice = number("batch_size") ?? 1;
  const packed =
    objective === undefined
      ? maxLength * perDevice
      : Math.max(number("max_packed_length") ?? 0, 2 * maxLength) * perDevice;
  const { method, base, lora } = adapterOf(model, llm, note);
  const system = values.get("SYSTEM");
  const chat = chatOf(values, typeof system === "string" ? system : undefined);
  if (chat !== undefined && nameOf(system) !== undefined)
    note("SYSTEM", `${nameOf(system)} is a text of XTuner's own: put it into chat.system if it matters`);
  if (nameOf(values.get("prompt_template")) !== undefined)
    note("prompt_template", `${nameOf(values.get("prompt_template"))}: the checkpoint's own chat template is used`);
  if (objective === undefined && values.get("pack_to_max_length") === false)
    note("pack_to_max_length", "examples are always packed; each sees itself alone, so what is learnt is the same");

  const draft: Draft = {
    kind: objective === undefined ? "finetune" : "prefer",
    model: path,
    ...(objective && { objective }),
    data: dataOf(values, objective !== undefined, note),
    out: outOf(file),
    until: untilOf(values),
    method,
    ...(base && { base }),
    ...(lora && { lora }),
    examples: { mask: "xtuner", maxLength, tooLong: objective === undefined ? "cut" : "drop" },
    batchTokens: packed,
    accumulate:
      number("accumulative_counts") ?? numberOf(dictOf(values.get("optim_wrapper"))["accumulative_counts"]) ?? 1,
    schedule: scheduleOf(values, note),
    optimizer: optimizerOf(values, note),
    ...(chat && { chat }),
    ...savesOf(values),
    ...seedOf(values),
  };
  note(
    "accumulative_counts, batch_size",
    `they count for each device, and how many there were is not in the file: on N devices a step was N x ${draft.accumulate} batches`,
  );
  noteRest(python, note);
  return { tool: "XTuner", draft, notes };
}

type Note = (name: string, reason: string) => void;

const none: PythonDict = Object.freeze({});
const dictOf = (value: PythonValue | undefined): PythonDict => (isDict(value) ? value : none);
const numberOf = (value: PythonValue | undefined): number | undefined =>
  typeof value === "number" && Number.isFinite(value) ? value : undefined;
const listOf = (value: PythonValue | undefined): readonly PythonValue[] =>
  Array.isArray(value) ? (value as readonly PythonValue[]) : value === undefined || value === null ? [] : [value];

/** The last part of a type, as "LoraConfig". */
function typeOf(value: PythonValue | undefined): string {
  const type = isDict(value) ? value["type"] : value;
  return (typeof type === "string" ? type : (nameOf(type) ?? "")).split(".").at(-1)!;
}

/** The type in full, as "AutoTokenizer.from_pretrained". */
const fullType = (value: PythonValue | undefined): string => {
  const type = dictOf(value)["type"];
  return typeof type === "string" ? type : (nameOf(type) ?? "");
};

function objectiveOf(model: PythonDict, file: string, note: Note): PreferenceObjective | undefined {
  const type = typeOf(model);
  const beta = numberOf(model["beta"]) ?? 0.1;
  switch (type) {
    case "":
    case "SupervisedFinetune":
      return undefined;
    case "DPO": {
      const named = model["loss_type"] ?? "sigmoid";
      const loss = dpoLosses.find((each) => each === named);
      if (loss === undefined)
        note("loss_type", `${String(nameOf(named) ?? named)} is not known, so sigmoid stands there`);
      return { kind: "dpo", loss: loss ?? "sigmoid", beta, labelSmoothing: numberOf(model["label_smoothing"]) ?? 0 };
    }
    case "ORPO":
      return { kind: "orpo", beta };
    case "RewardModel":
      return {
        kind: "reward",
        loss: model["loss_type"] === "ranking" ? "ranking" : "focal",
        penalty: model["penalty_type"] === "none" ? 0 : (numberOf(model["penalty_weight"]) ?? 0.01),
      };
    default:
      throw new Failure(
        "input",
        `${file}: the model is a ${type}, and nothing of this kind is trained here.`,
        "Read are configs of SupervisedFinetune, DPO, ORPO and RewardModel.",
      );
  }
}

function adapterOf(model: PythonDict, llm: PythonDict, note: Note): Pick<Draft, "method" | "base" | "lora"> {
  const quantization = dictOf(llm["quantization_config"]);
  const given = model["lora"];
  const base = baseOf(quantization, note);
  if (!isDict(given)) return { method: "full" };
  const targets = listOf(given["target_modules"]).flatMap((each) => (typeof each === "string" ? [each] : []));
  if (given["bias"] !== undefined && given["bias"] !== "none") note("lora.bias", "biases stay as they are");
  if (given["modules_to_save"] !== undefined && given["modules_to_save"] !== null)
    note("lora.modules_to_save", "adapters alone are trained");
  const dropout = numberOf(given["lora_dropout"]);
  return {
    method: "lora",
    ...(base && { base }),
    lora: {
      // peft's own defaults where the file says nothing.
      rank: numberOf(given["r"]) ?? 8,
      alpha: numberOf(given["lora_alpha"]) ?? 8,
      targets: targets.length > 0 && targets[0] !== "all-linear" ? targets : "all-linear",
      ...(dropout && { dropout }),
      ...(given["use_rslora"] === true && { rslora: true }),
      ...(given["use_dora"] === true && { dora: true }),
    },
  };
}

function baseOf(quantization: PythonDict, note: Note): "nf4" | undefined {
  if (quantization["load_in_8bit"] === true)
    note("load_in_8bit", "weights are held as their file has them: give a Q8_0 GGUF for 8 bits");
  if (quantization["load_in_4bit"] !== true) return undefined;
  if ((quantization["bnb_4bit_quant_type"] ?? "fp4") !== "nf4") note("bnb_4bit_quant_type", "the 4 bits are NF4 here");
  if (quantization["bnb_4bit_use_double_quant"] === false)
    note("bnb_4bit_use_double_quant", "scales are always quantized too");
  return "nf4";
}

function trainDataset(values: PythonFile["values"]): PythonDict {
  const loader = dictOf(values.get("train_dataloader"));
  return dictOf(isDict(loader["dataset"]) ? loader["dataset"] : values.get("train_dataset"));
}

function dataOf(values: PythonFile["values"], isPreference: boolean, note: Note): DataSource[] {
  const dataset = trainDataset(values);
  const parts = dataset["datasets"] === undefined ? [dataset] : listOf(dataset["datasets"]).map((each) => dictOf(each));
  const sources = parts.flatMap((part) => sourcesOf(part, isPreference, note));
  if (sources.length > 0) return sources;
  note("train_dataset", "where the data lie cannot be seen: put their files in the place of data.jsonl");
  return [{ path: "data.jsonl" }];
}

function sourcesOf(dataset: PythonDict, isPreference: boolean, note: Note): DataSource[] {
  if (isDict(dataset["dataset_cfg"])) return sourcesOf(dataset["dataset_cfg"], isPreference, note);
  const type = typeOf(dataset);
  if (type === "MOSSSFTDataset" && typeof dataset["data_file"] === "string")
    return [{ path: dataset["data_file"], format: "moss" }];
  const folder = dataset["folder"] ?? dataset["dataset_folder"];
  if (/intern_?(?:repo|evo)/i.test(type) && typeof folder === "string")
    return [{ path: folder, ...(!/untokenized/.test(type) && { format: "internevo" }) }];
  const loaded = dictOf(dataset["dataset"]);
  const files = filesOf(loaded["data_files"]);
  const from = loaded["path"];
  const limit = numberOf(dataset["max_dataset_length"]);
  if (/load_from_disk/.test(fullType(loaded)) || /load_from_disk/.test(typeOf(loaded)))
    note("load_from_disk", "a directory of Arrow files is not read: save it as Parquet or JSON lines");
  if (
    typeof from === "string" &&
    !/^(?:json|parquet|text|csv)$/.test(from) &&
    loaded["name"] !== undefined &&
    loaded["name"] !== null
  )
    note("dataset.name", `the subset ${JSON.stringify(loaded["name"])}: name its folder or files behind ${from}/`);
  const format = isPreference ? undefined : formatOf(dataset, note);
  const shared = { ...(format !== undefined && { format }), ...(limit !== undefined && { limit }) };
  if (files.length > 0) return files.map((path) => ({ path, ...shared }));
  if (typeof from !== "string") return [];
  const isLocal = from.startsWith("/") || from.startsWith(".") || /\.(?:jsonl?|parquet|txt)$/.test(from);
  return [{ path: isLocal ? from : `hf:${from}`, ...shared }];
}

/** A file, a list, or a dict by split, of which the training one counts. */
function filesOf(value: PythonValue | undefined): string[] {
  if (isDict(value)) return filesOf(value["train"]);
  return listOf(value).flatMap((each) => (typeof each === "string" ? [each] : []));
}

function formatOf(dataset: PythonDict, note: Note): string | undefined {
  const map = dataset["dataset_map_fn"];
  if (map === null) return "xtuner";
  if (map === undefined) return undefined;
  const name = nameOf(map)?.split(".").at(-1) ?? typeOf(map);
  const format = Object.hasOwn(mapFunctions, name) ? mapFunctions[name] : undefined;
  if (format === undefined)
    note(
      "dataset_map_fn",
      `${name} is a function: if the records are not known by their fields, rename them with columns`,
    );
  return format;
}

function untilOf(values: PythonFile["values"]): Draft["until"] {
  const loop = dictOf(values.get("train_cfg"));
  const steps = numberOf(loop["max_iters"]) ?? numberOf(values.get("max_iters"));
  if (steps !== undefined) return { steps };
  return { epochs: numberOf(loop["max_epochs"]) ?? numberOf(values.get("max_epochs")) ?? 1 };
}

function scheduleOf(values: PythonFile["values"], note: Note): Draft["schedule"] {
  const wrapped = dictOf(dictOf(values.get("optim_wrapper"))["optimizer"]);
  const peak = numberOf(wrapped["lr"]) ?? numberOf(values.get("lr"));
  if (peak === undefined) note("lr", "it is not known, so 0.0002 stands there");
  const rate = peak ?? 2e-4;
  const policies = listOf(values.get("param_scheduler")).map((each) => dictOf(each));
  const warmup = numberOf(values.get("warmup_ratio")) ?? numberOf(values.get("warm_up_ratio"));
  const last = policies.at(-1);
  const type = typeOf(last);
  const lowest = numberOf(last?.["eta_min"]) ?? numberOf(last?.["end_factor"]);
  const hasWarmup = policies.length > 1 || type === "LinearLR";
  if (policies.length > 2) note("param_scheduler", "more than a warm-up and one curve: the last alone is carried over");
  const shared = { peak: rate, ...(hasWarmup && warmup !== undefined && { warmupShare: warmup }) };
  switch (type) {
    case "CosineAnnealingLR":
      return {
        kind: "cosine",
        ...shared,
        finalShare: lowest === undefined ? 0 : Math.min(1, Math.max(0, lowest / rate)),
      };
    case "":
    case "ConstantLR":
      return { kind: "constant", ...shared };
    case "LinearLR":
      return policies.length > 1
        ? { kind: "linear", ...shared, finalShare: lowest ?? 0 }
        : { kind: "constant", ...shared };
    default:
      note("param_scheduler", `${type} is not known, so the rate falls by a cosine`);
      return { kind: "cosine", ...shared, finalShare: 0 };
  }
}

function optimizerOf(values: PythonFile["values"], note: Note): Draft["optimizer"] {
  const wrapper = dictOf(values.get("optim_wrapper"));
  const wrapped = dictOf(wrapper["optimizer"]);
  const type = typeOf(wrapped["type"] ?? values.get("optim_type")) || "AdamW";
  const kind = /adam/i.test(type) ? "adamw" : /^sgd$/i.test(type) ? "sgd" : undefined;
  if (kind === undefined || (kind === "adamw" && type !== "AdamW")) note("optim_type", `${type}: AdamW stands there`);
  const [beta1, beta2] = listOf(wrapped["betas"] ?? values.get("betas")).map(numberOf);
  const eps = numberOf(wrapped["eps"]);
  const clip = numberOf(dictOf(wrapper["clip_grad"])["max_norm"]) ?? numberOf(values.get("max_norm")) ?? 0;
  if (wrapper["dtype"] !== undefined || typeOf(wrapper) === "AmpOptimWrapper")
    note("optim_wrapper", "mixed precision: weights, sums and updates are float32 here, so there is no loss to scale");
  return {
    kind: kind ?? "adamw",
    ...(beta1 !== undefined && { beta1 }),
    ...(beta2 !== undefined && { beta2 }),
    ...(eps !== undefined && { eps }),
    weightDecay: numberOf(wrapped["weight_decay"]) ?? numberOf(values.get("weight_decay")) ?? 0,
    clip,
  };
}

function chatOf(values: PythonFile["values"], system: string | undefined): Draft["chat"] {
  const hook = listOf(values.get("custom_hooks")).find((each) => typeOf(each) === "EvaluateChatHook");
  const given = listOf(dictOf(hook)["evaluation_inputs"] ?? values.get("evaluation_inputs"));
  const prompts = given.flatMap((each) => (typeof each === "string" ? [each] : []));
  if (prompts.length === 0) return undefined;
  const every = numberOf(values.get("evaluation_freq")) ?? 500;
  return { every, prompts, ...(system !== undefined && system !== "" && { system }) };
}

function savesOf(values: PythonFile["values"]): Pick<Draft, "snapshotEvery" | "keepSaves"> {
  const hook = dictOf(dictOf(values.get("default_hooks"))["checkpoint"]);
  const every =
    numberOf(values.get("save_steps")) ?? (hook["by_epoch"] === false ? numberOf(hook["interval"]) : undefined);
  const keep = numberOf(hook["max_keep_ckpts"]) ?? numberOf(values.get("save_total_limit"));
  return {
    ...(every !== undefined && { snapshotEvery: every }),
    ...(keep !== undefined && keep > 0 && { keepSaves: keep }),
  };
}

function seedOf(values: PythonFile["values"]): Pick<Draft, "seed"> {
  const seed = numberOf(dictOf(values.get("randomness"))["seed"]);
  return seed === undefined ? {} : { seed };
}

/** What stands in the file and was not looked at. */
function noteRest({ values, skipped }: PythonFile, note: Note): void {
  const length = values.get("sequence_parallel_size");
  if (typeof length === "number" && length > 1)
    note("sequence_parallel_size", "a sequence is trained by one process here");
  const validation = ["val_dataloader", "test_dataloader", "val_evaluator"].find((name) => isDict(values.get(name)));
  if (validation !== undefined)
    note(validation, "give held-out data as validation, and tasks of lianlu evaluate as evaluate");
  if (values.has("_base_")) note("_base_", "what other files say is not read: import the whole config");
  for (const [name, value] of values) {
    const isSetting = value !== null && !isDict(value) && nameOf(value) === undefined;
    // Paths of data are carried over by way of the dataset that they stand in.
    const isKnown = machinery.has(name) || /^(?:val_|test_|sequence_parallel)|path|_files?$|^use_|^_/.test(name);
    if (isSetting && !isKnown) note(name, "it is not known here");
  }
  for (const { line, text, reason } of skipped) note(`line ${line}`, `${text}: ${reason}`);
}

/** A place for the result, named after the file. */
export function outOf(file: string): string {
  const name = file
    .split(/[\\/]/)
    .at(-1)!
    .replace(/\.[^.]*$/, "");
  return `${name.replaceAll(/[^\w.-]+/g, "-")}-out`;
}
