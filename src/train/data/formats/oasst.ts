// OpenAssistant: trees of messages ({prompt: {text, role, replies}}), or the messages of trees one a record
// ({message_id, parent_id, text, role, rank}). Learnt is the path of the best ranked replies.
import { asText, isObject } from "../fields.ts";
import { defineFormat, RecordFault, type RawRecord } from "../format.ts";
import { dialogueOf, readMessages } from "../messages.ts";

export default defineFormat({
  summary: "OpenAssistant's trees, or their messages one a record: the best ranked path of each",
  purposes: ["tune"],
  rank: 1,
  detect: (record) => isTree(record) || isFlat(record),
  gather(records) {
    const trees = new Map<string, RawRecord & { replies: RawRecord[] }>();
    const roots: RawRecord[] = [];
    for (const record of records) {
      if (!isFlat(record) || record["deleted"] === true) continue;
      trees.set(asText(record["message_id"], "message_id"), { ...record, replies: [] });
    }
    for (const record of records) {
      if (isTree(record)) roots.push(record);
      if (!isFlat(record)) continue;
      const node = trees.get(record["message_id"] as string);
      const parent = record["parent_id"];
      if (node === undefined) continue;
      if (typeof parent === "string") trees.get(parent)?.replies.push(node);
      else roots.push({ prompt: node });
    }
    return roots;
  },
  read(record) {
    const path: RawRecord[] = [];
    for (let node = record["prompt"]; isObject(node); node = bestReply(node)) path.push(node);
    if (path.length === 0) throw new RecordFault("prompt", "expected the first message of a tree");
    // A prompt that nobody has answered teaches nothing.
    if (path.length === 1) return [];
    const messages = readMessages(
      path.map(({ role, text }) => ({ role, text })),
      "prompt",
    );
    return [dialogueOf({}, messages, "prompt")];
  },
});

function isTree(record: RawRecord): boolean {
  return isObject(record["prompt"]) && typeof record["prompt"]["text"] === "string" && "role" in record["prompt"];
}

function isFlat(record: RawRecord): boolean {
  return typeof record["message_id"] === "string" && typeof record["text"] === "string" && "role" in record;
}

/** The reply of the lowest rank; the first of those that have none. */
function bestReply(node: RawRecord): unknown {
  const replies = Array.isArray(node["replies"]) ? node["replies"].filter(isObject) : [];
  const rankOf = (reply: RawRecord): number => (typeof reply["rank"] === "number" ? reply["rank"] : Infinity);
  return replies.reduce<RawRecord | undefined>(
    (best, reply) => (best === undefined || rankOf(reply) < rankOf(best) ? reply : best),
    undefined,
  );
}
