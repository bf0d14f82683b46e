// What a document is on its way from a source to the corpus. Plain types; nothing here reads or writes.

/** A line of corpus/documents-NNNNN.jsonl. */
export interface Document {
  id: string;
  text: string;
  meta: DocumentMeta;
}

export interface DocumentMeta {
  /** "npm:chinese-poetry@2.0.1" or the path that was given. */
  source: string;
  title?: string;
  author?: string;
  /** "tang", "song". */
  dynasty?: string;
  /** Year or ISO 8601 date; where documents are duplicates, the newest is kept. */
  date?: string;
  /** The lines of a poem; `text` is the title, the author and these, one a line. */
  lines?: string[];
  /** The lines with each character replaced by its tone: 平, 仄, ○ (either) or ？ (not known); punctuation is kept. */
  tones?: string[];
  [key: string]: unknown;
}

/** Where a record stands in its file. */
export interface Place {
  /** Relative to the source. */
  file: string;
  /** Counted from 1. */
  line: number;
  /** Bytes from the start of the file. */
  offset: number;
}

/** A record as a source gives it, before normalisation: running text, or a poem by its parts. */
export interface RawDocument {
  id: string;
  content: { text: string } | { lines: readonly string[]; tones?: readonly string[] };
  meta: { title?: string; author?: string; [key: string]: unknown };
}

export type SourceItem =
  | { type: "document"; place: Place; document: RawDocument }
  /** What cannot be read as a document: kept with its place, never passed over in silence. */
  | { type: "broken"; place: Place; reason: string; bytes: Uint8Array };

/** What filters and duplicate search look at: a poem's lines without title and author, or the whole text. */
export function bodyOf(document: Document): string {
  return document.meta.lines?.join("\n") ?? document.text;
}
