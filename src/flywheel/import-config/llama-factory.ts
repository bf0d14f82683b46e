// LLaMA-Factory's YAML: flat settings by name, with the defaults that it has where the file says nothing.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseDocument } from "yaml";
import { Failure } from "../../protocol/errors.ts";
import { dpoLosses, type DataSource, type PreferenceObjective } from "../../train/index.ts";
import type { Draft, ImportedConfig, ImportNote } from "./draft.ts";
import { outOf } from "./xtuner.ts";

type Settings = Readonly<Record<string, unknown>>;
type Note = (name: string, reason: string) => void;

/** What a run here needs nothing said of: how Python loads, deals out and shows things. */
const machinery = new Set(
  (
    "do_train do_eval do_predict trust_remote_code overwrite_cache preprocessing_num_workers dataloader_num_workers " +
    "logging_steps plot_loss overwrite_output_dir ddp_timeout save_only_model flash_attn use_fast_tokenizer cache_dir " +
    "per_device_eval_batch_size eval_strategy evaluation_strategy save_strategy logging_dir hf_hub_token low_cpu_mem_usage " +
    "print_param_status report_to run_name use_cache save_safetensors streaming buffer_size tokenized_path ray_run_name " +
    "include_num_input_tokens_seen double_quantization quantization_type upcast_layernorm upcast_lmhead_output " +
    "disable_gradient_checkpointing gradient_checkpointing use_unsloth enable_liger_kernel optim bf16 fp16 pure_bf16 " +
    "dataset_dir max_grad_norm remove_unused_columns push_to_hub load_best_model_at_end metric_for_best_model logging_strategy"
  ).split(" "),
);

/** Reads a config that lies at `file`. Throws Failure("input") where it trains nothing that can be trained here. */
export function readLlamaFactory(source: string, file: string): ImportedConfig {
  const given = parse(source, file);
  const notes: ImportNote[] = [];
  const note: Note = (name, reason) => void notes.push({ name, reason });
  const used = new Set<string>();
  /** Remembers which settings were looked at. */
  const settings: Settings = new Proxy(given, {
    get(target, name) {
      used.add(String(name));
      return Reflect.get(target, name) as unknown;
    },
  });
  const model = settings["model_name_or_path"];
  if (typeof model !== "string") {
    throw new Failure("input", `${file}: there is no model_name_or_path.`, "Give a LLaMA-Factory training config.");
  }
  const objective = objectiveOf(settings, file, note);
  const maxLength = numberIn(settings, "cutoff_len") ?? 2048;
  const perDevice = numberIn(settings, "per_device_train_batch_size") ?? 8;
  const packs = settings["packing"] === true || settings["neat_packing"] === true;
  if (settings["packing"] === true && settings["neat_packing"] !== true)
    note("packing", "packed examples never see one another here, as with neat_packing");
  if (!packs)
    note(
      "per_device_train_batch_size",
      `a batch there is ${perDevice} ${perDevice === 1 ? "example" : "examples"}; here it is so many tokens, packed`,
    );
  const { method, base, lora } = adapterOf(settings, note);
  const limit = numberIn(settings, "max_samples");
  const shared = { directory: datasetDirectory(settings, file), limit, note };
  const data = dataOf(settings["dataset"], "dataset", shared);
  const validation =
    settings["eval_dataset"] === undefined ? undefined : dataOf(settings["eval_dataset"], "eval_dataset", shared);
  const share = numberIn(settings, "val_size") ?? 0;
  if (share >= 1) note("val_size", `a count of ${share} examples: a twentieth is held out instead`);
  const steps = numberIn(settings, "max_steps");
  const tensorboard = [settings["report_to"]].flat().includes("tensorboard");
  const system = settings["default_system"];
  if (typeof system === "string" && system !== "") note("default_system", "write system messages into the data");
  const thinking = settings["enable_thinking"];
  const validateEvery = numberIn(settings, "eval_steps");
  const snapshotEvery = settings["save_strategy"] === "epoch" ? undefined : (numberIn(settings, "save_steps") ?? 500);
  const keepSaves = numberIn(settings, "save_total_limit");
  const isHeldOut = validation !== undefined || share > 0;

  const draft: Draft = {
    kind: objective === undefined ? "finetune" : "prefer",
    model,
    ...(objective && { objective }),
    data,
    ...(validation && { validation }),
    ...(validation === undefined && share < 1 && { validationShare: share }),
    out: typeof settings["output_dir"] === "string" ? settings["output_dir"] : outOf(file),
    until: steps !== undefined && steps > 0 ? { steps } : { epochs: numberIn(settings, "num_train_epochs") ?? 3 },
    method,
    ...(base && { base }),
    ...(lora && { lora }),
    examples: {
      ...(settings["stage"] === "pt" && { format: "text" }),
      mask: "llama-factory",
      maxLength,
      tooLong: objective === undefined ? "cut" : "drop",
      ...(settings["mask_history"] === true && { lastTurnOnly: true }),
      ...(typeof thinking === "boolean" && { templateOptions: { enable_thinking: thinking } }),
    },
    batchTokens: maxLength * perDevice * (objective === undefined ? 1 : 2),
    accumulate: numberIn(settings, "gradient_accumulation_steps") ?? 1,
    schedule: scheduleOf(settings, note),
    optimizer: optimizerOf(settings, note),
    ...(isHeldOut && validateEvery !== undefined && { validateEvery }),
    ...(snapshotEvery !== undefined && { snapshotEvery }),
    ...(keepSaves !== undefined && keepSaves > 0 && { keepSaves }),
    ...(tensorboard && { tensorboard: typeof settings["logging_dir"] === "string" ? settings["logging_dir"] : "runs" }),
    seed: numberIn(settings, "seed") ?? 42,
  };
  if (typeof settings["template"] === "string" && settings["template"] !== "default")
    note("template", `${settings["template"]}: the checkpoint's own chat template is used`);
  if (settings["train_on_prompt"] === true) note("train_on_prompt", "prompts are never learnt; give texts for that");
  if (settings["bf16"] === true || settings["fp16"] === true || settings["pure_bf16"] === true)
    note("bf16, fp16", "weights, sums and updates are float32 here; products too, unless precision says otherwise");
  for (const [name, value] of Object.entries(given)) {
    const saysNothing = value === null || value === false || value === "" || value === "none";
    if (!used.has(name) && !machinery.has(name) && !saysNothing) note(name, "it is not known here");
  }
  return { tool: "LLaMA-Factory", draft, notes };
}

function parse(source: string, file: string): Settings {
  const document = parseDocument(source);
  const [error] = document.errors;
  if (error)
    throw new Failure("input", `${file}: ${error.message.split("\n")[0]!.replace(/:$/, "")}.`, "It is no YAML.");
  const value = document.toJS({ maxAliasCount: 10 }) as unknown;
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Settings;
  throw new Failure("input", `${file} holds no settings.`, "Give a LLaMA-Factory training config.");
}

/** A number, also where YAML reads a text: 1e-4 has no point. */
function numberIn(settings: Settings, name: string): number | undefined {
  const value = settings[name];
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : undefined;
}

function objectiveOf(settings: Settings, file: string, note: Note): PreferenceObjective | undefined {
  const stage = settings["stage"] ?? "sft";
  const beta = numberIn(settings, "pref_beta") ?? 0.1;
  const ftx = numberIn(settings, "pref_ftx");
  if (ftx) note("pref_ftx", "no share of the usual loss is added");
  switch (stage) {
    case "sft":
    case "pt":
      return undefined;
    case "rm":
      // Its loss has no barrier and counts all pairs alike.
      return { kind: "reward", loss: "ranking", penalty: 0 };
    case "kto":
      return {
        kind: "kto",
        beta,
        desirableWeight: numberIn(settings, "kto_chosen_weight") ?? 1,
        undesirableWeight: numberIn(settings, "kto_rejected_weight") ?? 1,
      };
    case "dpo": {
      const named = settings["pref_loss"] ?? "sigmoid";
      if (named === "orpo") return { kind: "orpo", beta };
      const loss = dpoLosses.find((each) => each === named);
      if (loss === undefined) note("pref_loss", `${String(named)} is not known, so sigmoid stands there`);
      return {
        kind: "dpo",
        loss: loss ?? "sigmoid",
        beta,
        labelSmoothing: numberIn(settings, "dpo_label_smoothing") ?? 0,
      };
    }
    default:
      throw new Failure(
        "input",
        `${file}: the stage is ${JSON.stringify(stage)}, and nothing of this kind is imported.`,
        "Read are sft, pt, dpo, kto and rm; for rewards from a verifier see `lianlu prefer`.",
      );
  }
}

function adapterOf(settings: Settings, note: Note): Pick<Draft, "method" | "base" | "lora"> {
  const bits = numberIn(settings, "quantization_bit");
  if (bits !== undefined && bits !== 4)
    note("quantization_bit", `${bits} bits: weights are held as their file has them; give a Q8_0 GGUF for 8`);
  const method = settings["quantization_method"];
  if (typeof method === "string" && !/^(?:bnb|bitsandbytes|BNB)$/.test(method))
    note("quantization_method", `${method}: NF4 stands there`);
  const base = bits === 4 ? ({ base: "nf4" } as const) : {};
  const type = settings["finetuning_type"] ?? "lora";
  if (type === "full") return { method: "full" };
  if (type !== "lora") note("finetuning_type", `${String(type)} is not known, so LoRA stands there`);
  const rank = numberIn(settings, "lora_rank") ?? 8;
  const dropout = numberIn(settings, "lora_dropout");
  const targets = namesOf(settings["lora_target"] ?? "all");
  if (settings["additional_target"] !== undefined) note("additional_target", "adapters alone are trained");
  return {
    method: "lora",
    ...base,
    lora: {
      rank,
      alpha: numberIn(settings, "lora_alpha") ?? 2 * rank,
      targets: targets.length === 0 || targets.includes("all") ? "all-linear" : targets,
      ...(dropout && { dropout }),
      ...(settings["use_rslora"] === true && { rslora: true }),
      ...(settings["use_dora"] === true && { dora: true }),
    },
  };
}

/** Names in a list, or in one text between commas. */
function namesOf(value: unknown): string[] {
  const list = Array.isArray(value) ? (value as unknown[]) : typeof value === "string" ? value.split(",") : [];
  return list.flatMap((each) => (typeof each === "string" && each.trim() !== "" ? [each.trim()] : []));
}

/** Where dataset_info.json lies: as given, from the config upwards. */
function datasetDirectory(settings: Settings, file: string): string {
  const name = typeof settings["dataset_dir"] === "string" ? settings["dataset_dir"] : "data";
  if (existsSync(join(name, "dataset_info.json"))) return name;
  let folder = dirname(file);
  for (let level = 0; level < 5; level++) {
    const candidate = join(folder, name);
    if (existsSync(join(candidate, "dataset_info.json"))) return candidate;
    folder = join(folder, "..");
  }
  return name;
}

interface DatasetContext {
  directory: string;
  limit: number | undefined;
  note: Note;
}

function dataOf(names: unknown, setting: string, { directory, limit, note }: DatasetContext): DataSource[] {
  const infoPath = join(directory, "dataset_info.json");
  const info = readInfo(infoPath);
  const wanted = namesOf(names);
  if (wanted.length === 0) {
    note(setting, "there is none: put the files in the place of data.jsonl");
    return [{ path: "data.jsonl" }];
  }
  return wanted.map((name): DataSource => {
    const described = info?.[name];
    const taken = limit === undefined ? {} : { limit };
    if (typeof described !== "object" || described === null) {
      note(
        setting,
        info === undefined
          ? `${infoPath} is not there, so ${name} is taken for a file`
          : `${infoPath} does not describe ${name}`,
      );
      return { path: join(directory, /\.\w+$/.test(name) ? name : `${name}.json`), ...taken };
    }
    return { ...describedSource(described as Settings, directory, name, note), ...taken };
  });
}

function readInfo(path: string): Record<string, unknown> | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  } catch (cause) {
    throw new Failure("input", `${path} is no JSON: ${(cause as Error).message}.`, "Mend it.", { cause });
  }
}

/** Our names of their columns, where those are not found by themselves. */
const columnNames: Readonly<Record<string, string>> = {
  messages: "conversations",
  prompt: "instruction",
  query: "input",
  response: "output",
  history: "history",
  system: "system",
  tools: "tools",
  chosen: "chosen",
  rejected: "rejected",
  kto_tag: "kto_tag",
};

/** Names of roles and fields that are known without being told. */
const usualTags = new Set(
  "role from content value user human assistant gpt observation function_call system tool".split(" "),
);

function describedSource(described: Settings, directory: string, name: string, note: Note): DataSource {
  const { file_name: file, hf_hub_url: hub, subset, folder, columns: given, tags } = described;
  const path =
    typeof hub === "string"
      ? `hf:${hub}${typeof folder === "string" ? `/${folder}` : ""}`
      : typeof file === "string"
        ? join(directory, file)
        : undefined;
  if (path === undefined) note(name, "it is loaded by a script or from another hub: put its files there");
  if (typeof subset === "string") note(name, `the subset ${subset}: name its folder or files behind the dataset`);
  const columns = Object.entries((given ?? {}) as Record<string, unknown>);
  if (columns.some(([column]) => /^(?:images|videos|audios)$/.test(column)))
    note(name, "pictures, sound and video are not learnt here");
  const renamed = columns.flatMap(([column, theirs]): [string, string][] => {
    const ours = columns.length === 1 && column === "prompt" ? "text" : columnNames[column];
    const isKnown = theirs === ours || (column === "messages" && theirs === "messages");
    return typeof theirs !== "string" || ours === undefined || isKnown ? [] : [[theirs, ours]];
  });
  const roles = Object.values((tags ?? {}) as Record<string, unknown>).map(String);
  const odd = roles.filter((role) => !usualTags.has(role));
  if (odd.length > 0) note(name, `its own names of roles and fields are not carried over: ${odd.join(", ")}`);
  return { path: path ?? `${name}.json`, ...(renamed.length > 0 && { columns: Object.fromEntries(renamed) }) };
}

function scheduleOf(settings: Settings, note: Note): Draft["schedule"] {
  const peak = numberIn(settings, "learning_rate") ?? 5e-5;
  const steps = numberIn(settings, "warmup_steps");
  const share = numberIn(settings, "warmup_ratio");
  const warmup = steps ? { warmupSteps: steps } : { warmupShare: share ?? 0 };
  const type = settings["lr_scheduler_type"] ?? "linear";
  const options = (settings["lr_scheduler_kwargs"] ?? {}) as Settings;
  switch (type) {
    case "linear":
      return { kind: "linear", peak, ...warmup, finalShare: 0 };
    case "cosine":
      return { kind: "cosine", peak, ...warmup, finalShare: 0 };
    case "cosine_with_min_lr": {
      const lowest = numberIn(options, "min_lr");
      const finalShare = numberIn(options, "min_lr_rate") ?? (lowest === undefined ? 0 : lowest / peak);
      return { kind: "cosine", peak, ...warmup, finalShare };
    }
    case "constant":
      return { kind: "constant", peak };
    case "constant_with_warmup":
      return { kind: "constant", peak, ...warmup };
    case "warmup_stable_decay":
      if (Object.keys(options).length > 0) note("lr_scheduler_kwargs", "set schedule.decayShare by them");
      return { kind: "wsd", peak, ...warmup };
    default:
      note("lr_scheduler_type", `${String(type)} is not known, so the rate falls by a cosine`);
      return { kind: "cosine", peak, ...warmup, finalShare: 0 };
  }
}

function optimizerOf(settings: Settings, note: Note): Draft["optimizer"] {
  const name = settings["optim"] ?? "adamw_torch";
  const isMuon = settings["use_muon"] === true;
  if (!isMuon && !/^(?:adamw_torch(?:_fused)?|adamw_hf|sgd)$/.test(String(name)))
    note("optim", `${String(name)}: AdamW stands there`);
  const [beta1, beta2, eps] = ["adam_beta1", "adam_beta2", "adam_epsilon"].map((each) => numberIn(settings, each));
  return {
    kind: isMuon ? "muon" : name === "sgd" ? "sgd" : "adamw",
    ...(beta1 !== undefined && { beta1 }),
    ...(beta2 !== undefined && { beta2 }),
    ...(eps !== undefined && { eps }),
    weightDecay: numberIn(settings, "weight_decay") ?? 0,
    clip: numberIn(settings, "max_grad_norm") ?? 1,
  };
}
