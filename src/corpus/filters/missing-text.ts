// Text that says of itself that a part is missing: （下闕）, 缺題 in brackets, "空。" in place of a poem.
import { defineFilter } from "../filter.ts";

const IN_BRACKETS = /[（(〔[【〖][^）)〕\]】〗\n]{0,12}[闕阙缺佚脱脫残殘][^）)〕\]】〗\n]{0,12}[）)〕\]】〗]/u;
const INSTEAD_OF_TEXT = /^(?:空|缺|闕|阙|無正文|无正文|原缺|原闕|待補|待补|暂无|暫無)[。，.!！]?$/mu;
const CUT_OFF = /(?:以下|下|后|後|末)(?:原)?[缺闕阙佚][。）)]?$/mu;

export default defineFilter({
  summary: "no marks of missing text",
  scripts: ["han"],
  thresholds: {},
  check({ body }) {
    for (const pattern of [IN_BRACKETS, INSTEAD_OF_TEXT, CUT_OFF]) {
      const match = pattern.exec(body);
      if (match !== null) return `says that text is missing: ${match[0].slice(0, 20)}`;
    }
    return undefined;
  },
});
