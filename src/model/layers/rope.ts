// Cosines and sines by position, computed in float64 and rounded once. The usual rotation keeps tables that grow with the
// positions that are met; a step whose sequences rotate differently gets a table of its own, one line a row.
import type { Kernels } from "../../kernels/kernels.ts";
import type { RopeTables, Tape } from "../../tensor/index.ts";
import type { DecoderConfig } from "../config.ts";
import { ropeBase, ropeFrequencies, ropeMagnitude } from "./rope-scaling.ts";

/** How the positions of a sequence are rotated. */
export interface Rope {
  /** Equal keys rotate equally: keys cached under one may be read under the other. */
  readonly key: string;
  /** Writes a line [headDim / 2] of cosines and sines. */
  line(cos: RopeTables["cos"], sin: RopeTables["sin"], offset: number, position: number): void;
}

/** The rotation of sequences that are no longer than the model was made for. */
export interface GrowingRope extends Rope {
  /** Tables [positions, headDim / 2] for at least so many positions. */
  tables(positions: number): RopeTables;
}

/** So many rows, one after another, of sequences that rotate alike. */
export interface RopeRun {
  rows: number;
  rope: Rope;
}

const firstPositions = 256;

/** The rotation for a sequence of so many tokens. */
export function ropeOf(config: DecoderConfig, plannedTokens: number): Rope {
  const base = ropeBase(config, plannedTokens);
  const frequencies = ropeFrequencies(config, base);
  const magnitude = ropeMagnitude(config);
  return {
    key: String(base),
    line(cos, sin, offset, position) {
      for (let i = 0; i < frequencies.length; i++) {
        const angle = position * frequencies[i]!;
        cos[offset + i] = magnitude * Math.cos(angle);
        sin[offset + i] = magnitude * Math.sin(angle);
      }
    },
  };
}

/** The usual rotation of a decoder, with tables. */
export function growingRope(kernels: Kernels, config: DecoderConfig): GrowingRope {
  const rope = ropeOf(config, 0);
  const half = config.headDim / 2;
  let held = 0;
  let tables: RopeTables = { cos: kernels.allocate(0), sin: kernels.allocate(0) };
  return {
    ...rope,
    line(cos, sin, offset, position) {
      if (position >= held) return rope.line(cos, sin, offset, position);
      for (let i = 0; i < half; i++) {
        cos[offset + i] = tables.cos[position * half + i]!;
        sin[offset + i] = tables.sin[position * half + i]!;
      }
    },
    tables(positions) {
      if (positions <= held) return tables;
      held = Math.max(firstPositions, 2 * held, positions);
      tables = { cos: kernels.allocate(held * half), sin: kernels.allocate(held * half) };
      for (let position = 0; position < held; position++) rope.line(tables.cos, tables.sin, position * half, position);
      return tables;
    },
  };
}

/** Tables [rows, headDim / 2] in which row r has the line of its own position and rotation. They are the tape's. */
export function rowTables(tape: Tape, headDim: number, positions: Int32Array, runs: readonly RopeRun[]): RopeTables {
  const half = headDim / 2;
  const cos = tape.take([positions.length, half], "cos").data;
  const sin = tape.take([positions.length, half], "sin").data;
  let row = 0;
  for (const { rows, rope } of runs) {
    for (const end = row + rows; row < end; row++) rope.line(cos, sin, row * half, positions[row]!);
  }
  return { cos, sin };
}
