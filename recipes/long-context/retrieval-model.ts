// A decoder whose weights are written down instead of trained, so that it retrieves exactly: where its latest 15 bytes
// stood once before, it goes on as the text did there. A checkpoint like any other, of the mistral family.
// It shows that an engine's positions, cache and attention are right at any length; it says nothing of learned models.
//
// The residual stream holds 16 slots of 8 numbers, a byte's bits as +1 and -1 each, an answer of 8 numbers, and a one.
//   layers 1-4: each row copies slots from the row 1, then 2, 4 and 8 before it, so that it knows its latest 16 bytes.
//     A head that looks back by a fixed offset, within a sliding window: constant queries and keys, whose rotations meet
//     at that offset alone.
//   layer 5: each row looks for rows whose 15 bytes before are its latest 15, and copies their byte as the answer.
//     Bits are compared in pairs of dimensions that rope turns so slowly that no length matters.
//   output layer: the byte nearest to the answer.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeSafetensors } from "../../src/formats/index.ts";
import { saveTokenizer, type TokenizerData } from "../../src/tokenizer/index.ts";

const bits = 8;
const slots = 16;
const answerAt = slots * bits;
const oneAt = answerAt + bits;
const hiddenSize = 144;
const headDim = 192;
const pairs = headDim / 2;
/** So steep that the first pairs turn fast and the last ones hardly in a million positions. */
const ropeTheta = 1e16;
const offsetPairs = 16;
const firstSlowPair = pairs - (slots * bits) / 2;
const intermediateSize = 32;
const offsetLayers = 4;
/** The offset layers see no further. */
const window = 32;
/** Tokens: unknown, beginning, end, and the bytes. */
const firstByte = 3;
const vocabSize = firstByte + 256;
/** Scores of a match and of everything else lie so far apart, in nats, that the rest counts for nothing. */
const offsetGap = 60;
const byteGap = 40;

/** Writes the checkpoint. */
export function writeRetrievalModel(directory: string, maxPositions: number): void {
  mkdirSync(directory, { recursive: true });
  const tensors = new Map<string, { shape: number[]; data: Float32Array }>();
  const matrix = (
    name: string,
    rows: number,
    columns: number,
  ): ((row: number, column: number, value: number) => void) => {
    const data = new Float32Array(rows * columns);
    tensors.set(name, { shape: [rows, columns], data });
    return (row, column, value) => {
      data[row * columns + column] = value;
    };
  };
  const ones = (name: string): void =>
    void tensors.set(name, { shape: [hiddenSize], data: new Float32Array(hiddenSize).fill(1) });

  const embed = matrix("model.embed_tokens.weight", vocabSize, hiddenSize);
  const head = matrix("lm_head.weight", vocabSize, hiddenSize);
  for (let id = 0; id < vocabSize; id++) {
    embed(id, oneAt, 1);
    for (let bit = 0; bit < bits; bit++) {
      // Control tokens look like the byte 0: every row has to have the same norm.
      const sign = ((Math.max(0, id - firstByte) >> bit) & 1) * 2 - 1;
      embed(id, bit, sign);
      if (id >= firstByte) head(id, answerAt + bit, 10 * sign);
    }
  }
  // What the norm before attention divides by: the root of the mean square of what a row with a full past holds.
  const rmsWith = (filled: number): number => Math.sqrt((filled * bits + 1) / hiddenSize);

  for (let layer = 0; layer <= offsetLayers; layer++) {
    const name = `model.layers.${layer}`;
    ones(`${name}.input_layernorm.weight`);
    ones(`${name}.post_attention_layernorm.weight`);
    const query = matrix(`${name}.self_attn.q_proj.weight`, headDim, hiddenSize);
    const key = matrix(`${name}.self_attn.k_proj.weight`, headDim, hiddenSize);
    const value = matrix(`${name}.self_attn.v_proj.weight`, headDim, hiddenSize);
    const output = matrix(`${name}.self_attn.o_proj.weight`, hiddenSize, headDim);
    matrix(`${name}.mlp.gate_proj.weight`, intermediateSize, hiddenSize);
    matrix(`${name}.mlp.up_proj.weight`, intermediateSize, hiddenSize);
    matrix(`${name}.mlp.down_proj.weight`, hiddenSize, intermediateSize);
    const filled = layer < offsetLayers ? 2 ** layer : slots;
    const rms = rmsWith(filled);
    const norm = Math.sqrt(headDim);
    if (layer < offsetLayers) {
      const offset = 2 ** layer;
      const amplitude = (offsetGap / offsetSharpness()) * norm * rms * rms;
      for (let pair = 0; pair < offsetPairs; pair++) {
        // The key is turned ahead by the offset, so that it meets the query of `offset` rows later.
        const angle = offset * ropeTheta ** (-pair / pairs);
        query(pair, oneAt, amplitude);
        key(pair, oneAt, Math.cos(angle));
        key(pair + pairs, oneAt, Math.sin(angle));
      }
      for (let i = 0; i < filled * bits; i++) {
        value(i, i, rms);
        output(i + filled * bits, i, 1);
      }
      continue;
    }
    // Slot s of a row is its byte s rows ago; a match has the query's slot s equal to the key's slot s + 1: the key's own
    // slot 0 is the byte that followed.
    const amplitude = (byteGap / 2) * norm * rms * rms;
    for (let i = 0; i < (slots - 1) * bits; i++) {
      const place = firstSlowPair + (i >> 1) + (i & 1) * pairs;
      query(place, i, amplitude);
      key(place, i + bits, 1);
    }
    for (let bit = 0; bit < bits; bit++) {
      value(bit, bit, rms);
      output(answerAt + bit, bit, 1);
    }
  }
  ones("model.norm.weight");

  writeSafetensors(
    join(directory, "model.safetensors"),
    [...tensors].map(([name, { shape, data }]) => ({ name, dtype: "F32", shape, bytes: new Uint8Array(data.buffer) })),
    { format: "pt" },
  );
  const config = {
    architectures: ["MistralForCausalLM"],
    model_type: "mistral",
    vocab_size: vocabSize,
    hidden_size: hiddenSize,
    intermediate_size: intermediateSize,
    num_hidden_layers: offsetLayers + 1,
    sliding_window: window,
    layer_types: Array.from({ length: offsetLayers + 1 }, (_, layer) =>
      layer < offsetLayers ? "sliding_attention" : "full_attention",
    ),
    num_attention_heads: 1,
    num_key_value_heads: 1,
    head_dim: headDim,
    rms_norm_eps: 1e-12,
    rope_theta: ropeTheta,
    max_position_embeddings: maxPositions,
    tie_word_embeddings: false,
    bos_token_id: 1,
    eos_token_id: 2,
  };
  writeFileSync(join(directory, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
  saveTokenizer(directory, byteTokenizer());
}

/** By how much, at amplitude 1, the nearest other offset of the window scores less. */
function offsetSharpness(): number {
  let least = Infinity;
  for (let away = 1; away < window; away++) {
    let lost = 0;
    for (let pair = 0; pair < offsetPairs; pair++) lost += 1 - Math.cos(away * ropeTheta ** (-pair / pairs));
    if (lost < least) least = lost;
  }
  return least;
}

/** One token a byte. */
function byteTokenizer(): TokenizerData {
  const none = new Int32Array(0);
  return {
    tokens: [
      ...["<unk>", "<s>", "</s>"].map((name) => ({ bytes: Buffer.from(name), kind: "control" as const })),
      ...Array.from({ length: 256 }, (_, byte) => ({ bytes: Uint8Array.of(byte), kind: "merged" as const })),
    ],
    merges: { lefts: none, rights: none, results: none },
    splits: [],
    normalizations: [],
    addPrefixSpace: false,
    ignoreMerges: false,
    bosId: 1,
    eosId: 2,
    padId: undefined,
    unknownId: 0,
    chatTemplate: undefined,
  };
}
