import { existsSync, writeFileSync } from "node:fs";
import { importConfig } from "../../flywheel/index.ts";
import { findModel } from "../../hub/index.ts";
import { environmentFailure } from "../../formats/manifest.ts";
import { Failure } from "../../protocol/errors.ts";
import { defineCommand } from "../command.ts";
import { withoutControls } from "../ui/controls.ts";

export default defineCommand({
  summary: "Read a config of XTuner or LLaMA-Factory and write it as one of ours.",
  usage: "lianlu import-config FILE [--out FILE]",
  examples: [
    {
      command: "lianlu import-config internlm2_chat_7b_qlora_oasst1_e3.py",
      help: "writes training.config.ts and says what could not be carried over; then `lianlu train training.config.ts`",
    },
    { command: "lianlu import-config llama3_lora_dpo.yaml --out dpo.config.ts", help: "the same for LLaMA-Factory" },
  ],
  positionals: { min: 1, max: 1, help: "XTuner's Python config or LLaMA-Factory's YAML; nothing in it is executed" },
  options: {
    out: {
      type: "string",
      default: "training.config.ts",
      placeholder: "FILE",
      help: "configuration file to write; one that is there already is left alone",
    },
  },
  run({ options: { out }, positionals, print }) {
    const { text, ...imported } = importConfig(positionals[0]!);
    if (existsSync(out))
      throw new Failure("usage", `${out} is there already.`, "Remove it, or name another with --out.");
    try {
      writeFileSync(out, text, { flag: "wx" });
    } catch (error) {
      throw environmentFailure(error, out);
    }
    const { notes, tool, draft } = imported;
    const lines = notes.map(({ name, reason }) => `  ${name}: ${reason}`);
    print(
      withoutControls(
        [
          `Written: ${out}, from a config of ${tool}.`,
          ...(lines.length > 0 ? ["Not carried over, or not quite:", ...lines] : []),
          ...(findModel(draft.model) || existsSync(draft.model)
            ? []
            : [`The model is not here yet: lianlu model get ${draft.model}`]),
          `Look it through, then: lianlu train ${out}`,
        ].join("\n"),
      ),
    );
    return Promise.resolve({ out, tool, configuration: draft, notes });
  },
});
