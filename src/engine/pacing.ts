// How many prompt rows a step takes beside the decodes, from what steps have cost so far: so many that a step with them
// takes about twice as long as one without. Then a prompt has about half of the machine and takes twice as long as alone,
// and the streams beside it write at half their speed, whatever model and machine they run on.
// Times, which are those of the computing thread, steer this alone: no result depends on it.

export interface Pacing {
  /** Rows of prompts for a step with so many decode rows, when so many sequences have prompts to run. */
  promptRows(decodeRows: number, prompts: number): number;
  /** What a step took. */
  observe(decodeRows: number, promptRows: number, milliseconds: number): void;
}

/** Prompt rows cost as much as a step without them; where more sequences read than write, up to so many times as much. */
const mostShares = 4;
/** A step with prompts alone takes about this long, so that what arrives meanwhile does not wait for long. */
const promptMilliseconds = 500;
/** Fewer rows at once than this make poor use of the weights that a step reads. */
const leastRows = 8;
const firstRows = 32;
/** Of a new measurement, this share goes into the average. */
const weight = 0.25;

export function createPacing(stepRows: number): Pacing {
  /** Milliseconds of a step of decodes alone, by their number; 0 where none has been seen. */
  const decodeCost = new Float64Array(stepRows + 1);
  /** Milliseconds of a prompt row, beside decodes and alone; 0 before the first. */
  let besideCost = 0;
  let aloneCost = 0;

  const average = (old: number, next: number): number => (old === 0 ? next : old + weight * (next - old));

  /** The cost of the nearest number of decodes that has been seen, or 0. */
  function decodeCostOf(rows: number): number {
    for (let distance = 0; distance <= stepRows; distance++) {
      const fewer = decodeCost[rows - distance] ?? 0;
      if (fewer > 0) return fewer;
      const more = decodeCost[rows + distance] ?? 0;
      if (more > 0) return more;
    }
    return 0;
  }

  return {
    promptRows(decodeRows, prompts) {
      const rowCost = decodeRows === 0 ? aloneCost : besideCost || aloneCost;
      const shares = Math.min(mostShares, Math.max(1, prompts / decodeRows));
      const time = decodeRows === 0 ? promptMilliseconds : shares * decodeCostOf(decodeRows);
      // Before anything has been measured: a half of a step alone, and little beside others.
      const first = decodeRows === 0 ? stepRows >> 1 : firstRows;
      const rows = rowCost === 0 || time === 0 ? first : Math.round(time / rowCost);
      const least = decodeRows === 0 ? stepRows >> 1 : leastRows;
      return Math.max(1, Math.min(stepRows - decodeRows, Math.max(least, rows)));
    },
    observe(decodeRows, promptRows, milliseconds) {
      if (promptRows === 0) decodeCost[decodeRows] = average(decodeCost[decodeRows] ?? 0, milliseconds);
      else if (decodeRows === 0) aloneCost = average(aloneCost, milliseconds / promptRows);
      else {
        const extra = Math.max(0, milliseconds - decodeCostOf(decodeRows)) / promptRows;
        // Rows that cost nothing would take the whole step.
        besideCost = average(besideCost, Math.max(extra, 0.25 * aloneCost));
      }
    },
  };
}
