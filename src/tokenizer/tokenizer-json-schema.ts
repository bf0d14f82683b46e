// The outer form of tokenizer.json: what is checked of a file before its components are read one by one.
import { z } from "zod";
import type { Failure } from "../protocol/errors.ts";

/** Makes the error for a part of a kind that is not supported. */
export type Unsupported = (what: string) => Failure;

const componentSchema = z.looseObject({ type: z.string() });
export type Component = z.infer<typeof componentSchema>;

export const patternSchema = z.union([z.object({ String: z.string().min(1) }), z.object({ Regex: z.string() })]);

/** Checked further by hand: a schema would copy a hundred thousand entries. */
const container = z.custom<Record<string, unknown> | unknown[]>(
  (value) => typeof value === "object" && value !== null,
  "expected an object or an array",
);

export const fileSchema = z.looseObject({
  added_tokens: z
    .array(
      z.looseObject({
        id: z.int().nonnegative(),
        content: z.string().min(1),
        special: z.boolean(),
        lstrip: z.boolean().default(false),
        rstrip: z.boolean().default(false),
        single_word: z.boolean().default(false),
        normalized: z.boolean().default(false),
      }),
    )
    .default([]),
  normalizer: componentSchema.nullish(),
  pre_tokenizer: componentSchema.nullish(),
  post_processor: componentSchema.nullish(),
  decoder: componentSchema.nullish(),
  model: z.looseObject({
    type: z.string().nullish(),
    vocab: container,
    merges: z.array(z.unknown()).default([]),
    unk_token: z.string().nullish(),
    unk_id: z.int().nonnegative().nullish(),
    fuse_unk: z.boolean().nullish(),
    ignore_merges: z.boolean().nullish(),
    byte_fallback: z.boolean().nullish(),
    dropout: z.number().nullish(),
    continuing_subword_prefix: z.string().nullish(),
    end_of_word_suffix: z.string().nullish(),
  }),
});
export type TokenizerFile = z.infer<typeof fileSchema>;

/** The parts of a Sequence. */
export function readParts(value: unknown, unsupported: Unsupported): Component[] {
  const parts = z.array(componentSchema).safeParse(value);
  if (!parts.success) throw unsupported("a Sequence whose parts have no type");
  return parts.data;
}

/** A component as the list of its parts: itself, or those of a Sequence, nested ones too. */
export function flatten(component: Component | null | undefined, key: string, unsupported: Unsupported): Component[] {
  if (component === null || component === undefined) return [];
  if (component.type !== "Sequence") return [component];
  return readParts(component[key], unsupported).flatMap((part) => flatten(part, key, unsupported));
}
