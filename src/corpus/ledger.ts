// The ledger of a corpus: what came in equals what was kept, dropped by reason and quarantined, for each source and for
// each step. It is checked before it is written; a corpus that does not add up is never finished.

/** In the order of the way. "format" loses what cannot be read as a document. */
export const steps = ["format", "rules", "exact", "near"] as const;
export type Step = (typeof steps)[number];

export interface SourceLedger {
  input: number;
  kept: number;
  quarantined: number;
  /** By step and rule: "rules/length", "exact/duplicate". */
  dropped: Record<string, number>;
}
export interface StepLedger {
  step: Step;
  input: number;
  output: number;
  lost: Record<string, number>;
}
export interface Ledger extends SourceLedger {
  sources: Record<string, SourceLedger>;
  steps: StepLedger[];
}

export interface LedgerBook {
  read(source: string): void;
  quarantine(source: string, reason: string): void;
  drop(source: string, step: Exclude<Step, "format">, rule: string): void;
  keep(source: string): void;
  /** @throws Error where the sums do not agree with each other or with what was written: a defect of ours. */
  close(written: { kept: number; dropped: number; quarantined: number }): Ledger;
}

export function openLedger(): LedgerBook {
  const sources: Record<string, SourceLedger> = Object.create(null) as Record<string, SourceLedger>;
  const lost = Object.fromEntries(steps.map((step) => [step, {}])) as Record<Step, Record<string, number>>;
  const of = (source: string): SourceLedger => (sources[source] ??= { input: 0, kept: 0, quarantined: 0, dropped: {} });
  const count = (counts: Record<string, number>, key: string): void => {
    counts[key] = (counts[key] ?? 0) + 1;
  };

  return {
    read: (source) => void (of(source).input += 1),
    keep: (source) => void (of(source).kept += 1),
    quarantine(source, reason) {
      of(source).quarantined += 1;
      // Up to the colon: "broken JSON: Unexpected end" is one kind.
      count(lost.format, reason.split(":")[0]!);
    },
    drop(source, step, rule) {
      count(of(source).dropped, `${step}/${rule}`);
      count(lost[step], rule);
    },
    close(written) {
      const total: SourceLedger = { input: 0, kept: 0, quarantined: 0, dropped: {} };
      for (const [name, source] of Object.entries(sources)) {
        balance(`source ${name}`, source.input, source.kept + source.quarantined + sum(source.dropped));
        total.input += source.input;
        total.kept += source.kept;
        total.quarantined += source.quarantined;
        for (const [rule, dropped] of Object.entries(source.dropped)) {
          total.dropped[rule] = (total.dropped[rule] ?? 0) + dropped;
        }
      }
      let left = total.input;
      const stepLedgers = steps.map((step): StepLedger => {
        const input = left;
        left -= sum(lost[step]);
        return { step, input, output: left, lost: lost[step] };
      });
      balance("the steps", total.kept, left);
      balance("the documents written", total.kept, written.kept);
      balance("the quarantine written", total.quarantined, written.quarantined);
      balance("the list of dropped documents", sum(total.dropped), written.dropped);
      return { ...total, sources: { ...sources }, steps: stepLedgers };
    },
  };
}

const sum = (counts: Record<string, number>): number =>
  Object.values(counts).reduce((total, count) => total + count, 0);

function balance(what: string, expected: number, found: number): void {
  if (expected !== found) throw new Error(`the ledger does not add up for ${what}: ${expected} against ${found}`);
}
