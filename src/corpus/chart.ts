// The retention chart: which share of the raw documents is left after each step, as text and as SVG.
import type { Ledger } from "./ledger.ts";

interface Bar {
  label: string;
  documents: number;
  /** Of the raw documents, 0 to 1. */
  share: number;
  /** What this step removed of what reached it, 0 to 1. */
  removed: number;
}

const labels = { format: "Format", rules: "Rules", exact: "Exact duplicates", near: "Near duplicates" } as const;

function barsOf(ledger: Ledger): Bar[] {
  const of = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);
  const raw: Bar = { label: "Raw", documents: ledger.input, share: of(ledger.input, ledger.input), removed: 0 };
  const bars = ledger.steps.map(({ step, input, output }) => ({
    label: labels[step],
    documents: output,
    share: of(output, ledger.input),
    removed: of(input - output, input),
  }));
  return [raw, ...bars];
}

const percent = (share: number): string => `${(share * 100).toFixed(share > 0 && share < 0.1 ? 2 : 1)}%`;

/** A line for each step. */
export function retentionText(ledger: Ledger, width = 40): string[] {
  return barsOf(ledger).map(({ label, documents, share, removed }) => {
    const bar = "█".repeat(Math.round(share * width)).padEnd(width, "░");
    const loss = removed > 0 ? `  -${percent(removed)}` : "";
    return `${label.padEnd(17)} ${bar} ${percent(share).padStart(6)} ${String(documents).padStart(9)}${loss}`;
  });
}

/** Upright bars with the share kept above and what the step removed below. Follows the reader's light or dark theme. */
export function retentionSvg(ledger: Ledger): string {
  const bars = barsOf(ledger);
  const width = 640;
  const height = 320;
  const base = 250;
  const tallest = 190;
  const gap = width / bars.length;
  const parts = bars.map(({ label, documents, share, removed }, index) => {
    const middle = (index + 0.5) * gap;
    const tall = Math.max(1, share * tallest);
    const text = (y: number, content: string, kind: string): string =>
      `<text x="${middle.toFixed(1)}" y="${y.toFixed(1)}" class="${kind}">${content}</text>`;
    return [
      `<rect x="${(middle - 38).toFixed(1)}" y="${(base - tall).toFixed(1)}" width="76" height="${tall.toFixed(1)}" rx="3"/>`,
      text(base - tall - 8, percent(share), "share"),
      text(base + 20, label, "label"),
      text(base + 38, documents.toLocaleString("en-US"), "note"),
      removed > 0 ? text(base + 56, `removes ${percent(removed)}`, "note") : "",
    ].join("");
  });
  const style =
    "text{font:13px system-ui,sans-serif;text-anchor:middle;fill:#1f2937}.share{font-weight:600}.note{fill:#6b7280;" +
    "font-size:12px}rect{fill:#2563eb}.title{font-size:15px;font-weight:600}" +
    "@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.note{fill:#9ca3af}rect{fill:#60a5fa}}";
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" ` +
    `aria-label="Share of the raw documents kept after each step"><style>${style}</style>` +
    `<text x="${width / 2}" y="24" class="title">Documents kept after each step</text>` +
    `${parts.join("")}</svg>\n`
  );
}
