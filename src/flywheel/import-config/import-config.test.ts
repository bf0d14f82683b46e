// Configs of other tools: what is carried over, what is said of the rest, and that nothing in them is executed.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { importConfig } from "./index.ts";
import { isDict, nameOf, readPython, type PythonValue } from "./python.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-import-config-"));
after(() => rmSync(directory, { recursive: true }));
function write(name: string, text: string): string {
  const path = join(directory, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, text);
  return path;
}
/** Values as plain data, names as ⟨name⟩. */
function plain(value: PythonValue | undefined): unknown {
  const name = nameOf(value);
  if (name !== undefined) return `⟨${name}⟩`;
  if (Array.isArray(value)) return value.map((each: PythonValue) => plain(each));
  return isDict(value) ? Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)])) : value;
}
const read = (source: string): Record<string, unknown> =>
  Object.fromEntries([...readPython(source, "x.py").values].map(([name, value]) => [name, plain(value)]));

test("Python's literals, dicts and arithmetic are read as data", () => {
  assert.deepEqual(
    read(
      [
        '"""What it is for."""',
        "import os, torch",
        "from a import (b,",
        "    c)",
        "a = 1_000; b = 0x10",
        "c: float = -2.5e-3  # a comment",
        "d = 'it''s' \"one\" # \"",
        "e = r'\\d' + '\\n\\x41\\u4f60'",
        "f = [1, 'x', (2, 3), (4), (5,), {}]",
        "g = dict(type=torch.nn.Linear, size=a * 2 - 1, **{'k': None})",
        "h = g['size'] // 2 ** 3",
        "i = True if a > 10 and not False else None",
        "j = f'{a}' ",
        "k = [*f, 6]",
        "k += [7]",
        "a *= 2",
        "l = \\",
        "    3",
        "m = LoraConfig(r=8)",
        "n = '''two",
        "lines'''",
        "o = 7 % 4, b is not None",
      ].join("\n"),
    ),
    {
      a: 2000,
      b: 16,
      c: -0.0025,
      d: "itsone",
      e: "\\d\nA你",
      f: [1, "x", [2, 3], 4, [5], {}],
      g: { type: "⟨torch.nn.Linear⟩", size: 1999, k: null },
      h: 249,
      i: true,
      j: "⟨{a}⟩",
      k: [1, "x", [2, 3], 4, [5], {}, 6, 7],
      l: 3,
      m: { type: "⟨LoraConfig⟩", r: 8 },
      n: "two\nlines",
      o: [3, true],
    },
  );
});

test("branches are followed where they can be known; the rest is passed over and told", () => {
  const source = [
    "a = 1",
    "if a == 1:",
    "    b = 'yes'",
    "    if unknown:",
    "        b = 'never'",
    "elif True:",
    "    b = 'no'",
    "else:",
    "    b = 'no'",
    "def f():",
    "    b = 'never'",
    "__import__('os').system('touch executed')",
    "c = [x for x in range(3)]",
    "d = 4",
  ].join("\n");
  const { skipped } = readPython(source, "x.py");
  assert.deepEqual(read(source), { a: 1, b: "yes", c: "⟨c⟩", d: 4 });
  assert.deepEqual(
    skipped.map(({ line }) => line),
    [4, 10, 12, 13],
  );
  assert.throws(() => read("a = 'open"), { kind: "input", message: /line 1: a string does not end/ });
  assert.throws(() => read("a = [1,\n"), { kind: "input", message: /a bracket does not end/ });
  assert.deepEqual(read(`a = ${"[".repeat(500)}${"]".repeat(500)}\nb = 1`), { a: "⟨a⟩", b: 1 });
  assert.deepEqual(read("a = {'__proto__': 1}\nb = dict(__proto__=2)"), {
    a: JSON.parse('{"__proto__": 1}') as object,
    b: JSON.parse('{"__proto__": 2}') as object,
  });
});

const xtuner = `
from xtuner.model import SupervisedFinetune
pretrained_model_name_or_path = 'owner/model-7b'
data_path = 'owner/dialogues'
prompt_template = PROMPT_TEMPLATE.internlm2_chat
max_length = 2048
pack_to_max_length = True
batch_size = 2
accumulative_counts = 16
max_epochs = 3
optim_type = AdamW
lr = 2e-4
betas = (0.9, 0.999)
weight_decay = 0
max_norm = 1
warmup_ratio = 0.03
save_steps = 500
save_total_limit = 2
evaluation_freq = 100
SYSTEM = 'Be brief.'
evaluation_inputs = ['你好', 'Hello']
my_setting = 3
model = dict(
    type=SupervisedFinetune,
    llm=dict(
        type=AutoModelForCausalLM.from_pretrained,
        quantization_config=dict(type=BitsAndBytesConfig, load_in_4bit=True, bnb_4bit_quant_type='nf4')),
    lora=dict(type=LoraConfig, r=64, lora_alpha=16, lora_dropout=0.1, bias='none'))
train_dataset = dict(
    type=process_hf_dataset, dataset=dict(type=load_dataset, path=data_path), dataset_map_fn=oasst1_map_fn)
train_dataloader = dict(batch_size=batch_size, dataset=train_dataset)
optim_wrapper = dict(
    type=AmpOptimWrapper, optimizer=dict(type=optim_type, lr=lr, betas=betas, weight_decay=weight_decay),
    clip_grad=dict(max_norm=max_norm), accumulative_counts=accumulative_counts)
param_scheduler = [
    dict(type=LinearLR, start_factor=1e-5, begin=0, end=warmup_ratio * max_epochs),
    dict(type=CosineAnnealingLR, eta_min=lr * 0.1, begin=warmup_ratio * max_epochs, end=max_epochs)]
train_cfg = dict(type=TrainLoop, max_epochs=max_epochs)
custom_hooks = [dict(type=EvaluateChatHook, every_n_iters=evaluation_freq, evaluation_inputs=evaluation_inputs)]
`;

test("XTuner: QLoRA with packing, an evaluation chat and a cosine", () => {
  const { draft, notes, text, tool } = importConfig(write("qlora.py", xtuner));
  assert.equal(tool, "XTuner");
  assert.deepEqual(draft, {
    kind: "finetune",
    model: "owner/model-7b",
    data: [{ path: "hf:owner/dialogues", format: "guanaco" }],
    out: "qlora-out",
    until: { epochs: 3 },
    method: "lora",
    base: "nf4",
    lora: { rank: 64, alpha: 16, targets: "all-linear", dropout: 0.1 },
    examples: { mask: "xtuner", maxLength: 2048, tooLong: "cut" },
    batchTokens: 4096,
    accumulate: 16,
    schedule: { kind: "cosine", peak: 2e-4, warmupShare: 0.03, finalShare: 0.1 },
    optimizer: { kind: "adamw", beta1: 0.9, beta2: 0.999, weightDecay: 0, clip: 1 },
    chat: { every: 100, prompts: ["你好", "Hello"], system: "Be brief." },
    snapshotEvery: 500,
    keepSaves: 2,
  });
  const names = notes.map(({ name }) => name);
  for (const name of ["prompt_template", "optim_wrapper", "my_setting"]) assert.ok(names.includes(name), names.join());
  assert.ok(!names.some((name) => /betas|data_path|type/.test(name)), names.join());
  assert.match(text, /^\/\/ From qlora\.py of XTuner\./);
  // The text is the object again.
  const object = text.slice(text.indexOf("defineTraining(") + "defineTraining(".length, text.lastIndexOf(");"));
  assert.deepEqual(new Function(`return ${object}`)(), draft);
});

test("XTuner: all weights, files of its own format, several sets", () => {
  const full = xtuner
    .replace(/ {4}lora=.*\n/, "")
    .replace(/quantization_config=.*\n/, "),\n)\n")
    .replace(
      /train_dataset = [\s\S]*?\n(?=train_dataloader)/,
      `one = dict(type=process_hf_dataset, dataset=dict(type=load_dataset, path='json', data_files=['a.json', 'b.json']), dataset_map_fn=None)
two = dict(type=process_hf_dataset, dataset=dict(type=load_dataset, path='owner/alpaca'), dataset_map_fn=alpaca_map_fn, max_dataset_length=100)
three = dict(type=process_hf_dataset, dataset=dict(type=load_dataset, path='owner/other'), dataset_map_fn=other_map_fn)
train_dataset = dict(type=ConcatDataset, datasets=[one, two, three])
`,
    );
  const { draft, notes } = importConfig(write("full.py", full));
  assert.equal(draft.method, "full");
  assert.equal(draft.lora, undefined);
  assert.deepEqual(draft.data, [
    { path: "a.json", format: "xtuner" },
    { path: "b.json", format: "xtuner" },
    { path: "hf:owner/alpaca", format: "alpaca", limit: 100 },
    { path: "hf:owner/other" },
  ]);
  assert.ok(notes.some(({ name, reason }) => name === "dataset_map_fn" && /other_map_fn/.test(reason)));
});

test("XTuner: data of MOSS, of InternEvo, and none that can be seen", () => {
  const withData = (dataset: string) =>
    importConfig(write("data.py", xtuner.replace(/train_dataset = [\s\S]*?\n(?=train_dataloader)/, `${dataset}\n`)));
  const sources = (dataset: string): unknown => withData(dataset).draft.data;
  assert.deepEqual(sources("train_dataset = dict(type=MOSSSFTDataset, data_file='moss.jsonl')"), [
    { path: "moss.jsonl", format: "moss" },
  ]);
  assert.deepEqual(
    sources(
      "train_dataset = dict(type=build_packed_dataset, dataset_cfg=dict(type=load_intern_repo_tokenized_dataset, folder='bins'))",
    ),
    [{ path: "bins", format: "internevo" }],
  );
  const unseen = withData("train_dataset = load_everything()");
  assert.deepEqual(unseen.draft.data, [{ path: "data.jsonl" }]);
  assert.ok(unseen.notes.some(({ name }) => name === "train_dataset"));
});

test("what is trained by nothing here is refused", () => {
  const refused = (name: string, text: string, message: RegExp): void =>
    assert.throws(() => importConfig(write(name, text)), { message });
  refused("vision.py", xtuner.replace("type=SupervisedFinetune", "type=LLaVAModel"), /the model is a LLaVAModel/);
  refused("other.py", "a = 1\n", /there is no pretrained_model_name_or_path/);
  refused("ppo.yaml", "model_name_or_path: m\nstage: ppo\n", /the stage is "ppo"/);
  refused("list.yaml", "- a\n", /holds no settings/);
  refused("broken.yaml", "a: [1\n", /broken\.yaml: /);
  refused("config.toml", "a = 1\n", /neither XTuner's Python/);
  assert.throws(() => importConfig(join(directory, "absent.py")), { kind: "usage" });
});

const llamaFactory = `
model_name_or_path: owner/model
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: chats, odd
template: llama3
cutoff_len: 1024
max_samples: 1000
output_dir: saves/lora
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
learning_rate: 1e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
val_size: 0.1
eval_steps: 200
neftune_noise_alpha: 5
`;

test("LLaMA-Factory: names of data by dataset_info.json, its defaults, its dialect of the mask", () => {
  write(
    "factory/data/dataset_info.json",
    JSON.stringify({
      chats: {
        file_name: "chats.json",
        formatting: "sharegpt",
        columns: { messages: "talk", tools: "tools", system: "instructions" },
        tags: { role_tag: "role", user_tag: "asker" },
      },
      texts: { file_name: "texts.jsonl", columns: { prompt: "body" } },
      hub: { hf_hub_url: "owner/set", columns: { prompt: "q", response: "a" } },
    }),
  );
  const { draft, notes, tool } = importConfig(write("factory/examples/sft.yaml", llamaFactory));
  const data = join(directory, "factory/data");
  assert.equal(tool, "LLaMA-Factory");
  assert.deepEqual(draft, {
    kind: "finetune",
    model: "owner/model",
    data: [
      { path: join(data, "chats.json"), columns: { talk: "conversations", instructions: "system" }, limit: 1000 },
      { path: join(data, "odd.json"), limit: 1000 },
    ],
    validationShare: 0.1,
    out: "saves/lora",
    until: { epochs: 3 },
    method: "lora",
    lora: { rank: 8, alpha: 16, targets: "all-linear" },
    examples: { mask: "llama-factory", maxLength: 1024, tooLong: "cut" },
    batchTokens: 2048,
    accumulate: 8,
    schedule: { kind: "cosine", peak: 1e-4, warmupShare: 0.1, finalShare: 0 },
    optimizer: { kind: "adamw", weightDecay: 0, clip: 1 },
    validateEvery: 200,
    snapshotEvery: 500,
    seed: 42,
  });
  const said = notes.map(({ name, reason }) => `${name}: ${reason}`).join("\n");
  assert.match(said, /chats: its own names of roles and fields are not carried over: asker/);
  assert.match(said, /dataset: .*does not describe odd/);
  assert.match(said, /template: llama3: the checkpoint's own chat template is used/);
  assert.match(said, /neftune_noise_alpha: it is not known here/);
  assert.doesNotMatch(said, /do_train|cutoff_len|lora_rank/);

  const continued = importConfig(
    write(
      "factory/examples/pt.yaml",
      "model_name_or_path: m\nstage: pt\nfinetuning_type: full\ndataset: texts,hub\nmax_steps: 50\nsave_strategy: epoch\n",
    ),
  ).draft;
  assert.deepEqual(continued.data, [
    { path: join(data, "texts.jsonl"), columns: { body: "text" } },
    { path: "hf:owner/set", columns: { q: "instruction", a: "output" } },
  ]);
  assert.deepEqual(
    [continued.until, continued.method, continued.examples.format, continued.snapshotEvery],
    [{ steps: 50 }, "full", "text", undefined],
  );
  assert.deepEqual(continued.schedule, { kind: "linear", peak: 5e-5, warmupShare: 0, finalShare: 0 });
});

test("preferences: objectives with their numbers, pairs that hold both sides", () => {
  const dpo = xtuner
    .replace("type=SupervisedFinetune", "type=DPO, loss_type='robust', beta=loss_beta, label_smoothing=0.1")
    .replace("max_epochs = 3", "max_epochs = 3\nloss_beta = 0.2\nmax_packed_length = max_length * 2")
    .replace("dataset_map_fn=oasst1_map_fn", "dataset_map_fn=orpo_dpo_mix_40k_map_fn");
  const { draft, notes } = importConfig(write("dpo.py", dpo));
  assert.equal(draft.kind, "prefer");
  assert.deepEqual(draft.objective, { kind: "dpo", loss: "robust", beta: 0.2, labelSmoothing: 0.1 });
  assert.deepEqual(draft.data, [{ path: "hf:owner/dialogues" }]);
  assert.deepEqual([draft.batchTokens, draft.examples.tooLong], [8192, "drop"]);
  assert.ok(!notes.some(({ name }) => name === "dataset_map_fn"));
  const factory = (stage: string): unknown =>
    importConfig(write("factory/examples/x.yaml", llamaFactory.replace("stage: sft", stage))).draft.objective;
  assert.deepEqual(factory("stage: dpo\npref_beta: 0.2\npref_loss: ipo"), {
    kind: "dpo",
    loss: "ipo",
    beta: 0.2,
    labelSmoothing: 0,
  });
  assert.deepEqual(factory("stage: dpo\npref_loss: orpo"), { kind: "orpo", beta: 0.1 });
  assert.deepEqual(factory("stage: rm"), { kind: "reward", loss: "ranking", penalty: 0 });
  assert.deepEqual(factory("stage: kto\nkto_rejected_weight: 2"), {
    kind: "kto",
    beta: 0.1,
    desirableWeight: 1,
    undesirableWeight: 2,
  });
});
