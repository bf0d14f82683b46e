// Event files: the checksum by known answers, the framing and the messages by a decoder written here, and, where
// LIANLU_PYTHON has the package tensorboard, by that.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { checksum32c, createEventWriter, maskedChecksum } from "./tensorboard.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-events-"));
after(() => rmSync(folder, { recursive: true }));

test("CRC-32C: the known answers of RFC 3720, and the mask", () => {
  assert.equal(checksum32c(Buffer.from("123456789")), 0xe3069283);
  assert.equal(checksum32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(checksum32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  // The mask can be taken off again.
  const rotated = (maskedChecksum(Buffer.from("123456789")) - 0xa282ead8) >>> 0;
  assert.equal(((rotated >>> 17) | (rotated << 15)) >>> 0, 0xe3069283);
});

/** Fields of a message by number: varints and fixed numbers as numbers, the others as bytes. */
function decodeMessage(bytes: Buffer): Map<number, (number | Buffer)[]> {
  const fields = new Map<number, (number | Buffer)[]>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++]!;
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    let value: number | Buffer;
    switch (key & 7) {
      case 0:
        value = varint();
        break;
      case 1:
        value = bytes.readDoubleLE(at);
        at += 8;
        break;
      case 5:
        value = bytes.readFloatLE(at);
        at += 4;
        break;
      default: {
        const length = varint();
        value = bytes.subarray(at, at + length);
        at += length;
      }
    }
    fields.set(key >> 3, [...(fields.get(key >> 3) ?? []), value]);
  }
  return fields;
}

function records(path: string): Buffer[] {
  const bytes = readFileSync(path);
  const found = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at));
    assert.equal(bytes.readUInt32LE(at + 8), maskedChecksum(bytes.subarray(at, at + 8)));
    const data = bytes.subarray(at + 12, at + 12 + length);
    assert.equal(bytes.readUInt32LE(at + 12 + length), maskedChecksum(data));
    found.push(data);
    at += 16 + length;
  }
  return found;
}

function writeSome(directory: string): string {
  const writer = createEventWriter(directory, undefined, () => 1_700_000_000_500);
  writer.scalars(1, { loss: 3.5, "validation/loss": 0.25 });
  writer.scalars(300, { loss: 1.5 });
  writer.text(300, "anomaly", "step 300: 春");
  return writer.path;
}

test("records are framed, dated and hold steps, tags and values", () => {
  const events = records(writeSome(join(folder, "own"))).map((bytes) => decodeMessage(bytes));
  assert.equal(events.length, 4);
  assert.equal(String(events[0]!.get(3)![0]), "brain.Event:2");
  assert.deepEqual(
    events.map((event) => event.get(1)![0]),
    Array.from({ length: 4 }, () => 1_700_000_000.5),
  );
  assert.deepEqual(
    events.map((event) => event.get(2)?.[0]),
    [undefined, 1, 300, 300],
  );
  const values = decodeMessage(events[1]!.get(5)![0] as Buffer)
    .get(1)!
    .map((value) => decodeMessage(value as Buffer));
  assert.deepEqual(
    values.map((value) => [String(value.get(1)![0]), value.get(2)![0]]),
    [
      ["loss", 3.5],
      ["validation/loss", 0.25],
    ],
  );
});

const python = process.env["LIANLU_PYTHON"];
const hasBoard = python !== undefined && spawnSync(python, ["-c", "import tensorboard"]).status === 0;

test(
  "TensorBoard reads them, and forgets what a run taken up again makes anew",
  { skip: hasBoard ? false : "LIANLU_PYTHON names no Python with tensorboard" },
  () => {
    const directory = join(folder, "board");
    writeSome(directory);
    const again = createEventWriter(directory, 2, () => 1_700_000_100_000);
    again.scalars(2, { loss: 3 });
    const script = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]); events.Reload()
print(json.dumps({
  "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]},
  "texts": [[e.step, e.tensor_proto.string_val[0].decode()] for e in events.Tensors("anomaly")],
}))`;
    const read = JSON.parse(
      execFileSync(python!, ["-c", script, directory], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
    ) as unknown;
    assert.deepEqual(read, {
      scalars: {
        loss: [
          [1, 3.5],
          [2, 3],
        ],
        "validation/loss": [[1, 0.25]],
      },
      // TensorBoard forgets scalars alone.
      texts: [[300, "step 300: 春"]],
    });
  },
);
