// InternEvo's token files (.bin): a line is {"tokens": [...]}; a negative id means its absolute value, without loss.
import { asList, describe } from "../fields.ts";
import { defineFormat, RecordFault } from "../format.ts";

export default defineFormat({
  summary: '{"tokens": [1, -25, 36]}: ids as they are, no loss on negative ones',
  purposes: ["tune"],
  rank: 1,
  detect: (record) => Array.isArray(record["tokens"]),
  read(record) {
    const tokens = asList(record["tokens"], "tokens");
    for (const [index, id] of tokens.entries()) {
      if (!Number.isInteger(id) || Math.abs(id as number) > 0x7fffffff)
        throw new RecordFault(`tokens[${index}]`, `expected a token id, found ${describe(id)}`);
    }
    return [{ kind: "tokens", tokens: tokens as number[] }];
  },
});
