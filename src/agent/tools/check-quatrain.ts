// The tone and rhyme checker as a tool.
import { z } from "zod";
import { checkQuatrain } from "../../corpus/verse/index.ts";
import { defineTool } from "../tool.ts";

export default defineTool({
  name: "check_quatrain",
  description: "检查绝句的句式、押韵、平仄",
  parameters: z.object({ poem: z.string().max(200) }),
  run({ poem }) {
    const { passed, rules, faults } = checkQuatrain(poem);
    return { passed, rules, faults };
  },
});
