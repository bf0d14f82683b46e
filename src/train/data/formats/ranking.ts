// Rankings: {instruction, input, output: [best, next, ..., worst]}; the best answer against each of the others.
import { asList, asText } from "../fields.ts";
import { defineFormat, RecordFault } from "../format.ts";
import { instructionMessages } from "./alpaca.ts";

export default defineFormat({
  summary: "{instruction, input, output: [best, ..., worst]}: the best against each other answer",
  purposes: ["pair"],
  detect: (record) => typeof record["instruction"] === "string" && Array.isArray(record["output"]),
  read(record) {
    const answers = asList(record["output"], "output").map((each, index) => asText(each, `output[${index}]`));
    if (answers.length < 2) throw new RecordFault("output", "expected two answers or more, the best first");
    const prompt = instructionMessages(record);
    const [best, ...others] = answers.map((content) => [{ role: "assistant" as const, content }]);
    return others.map((rejected) => ({ kind: "pair", prompt, chosen: best!, rejected }));
  },
});
