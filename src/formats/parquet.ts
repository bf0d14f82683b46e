// Rows of a Parquet file as plain objects, row group by row group, so that memory is bounded by one of them.
// Knows nothing of what the columns mean; the format itself is read by hyparquet.
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, toJson } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { Failure } from "../protocol/errors.ts";

/** Largest row group that is read, uncompressed: writers make them of 128 MiB. */
const maxGroupBytes = 2 ** 30;

/**
 * The rows in their order. Integers of 64 bits become numbers, dates ISO texts, and binary columns Uint8Array.
 * @throws Failure "input" where the file is no Parquet or is damaged; the file system's error where it cannot be read.
 */
export async function* readParquetRows(path: string): AsyncGenerator<Record<string, unknown>, void, void> {
  const file = await asyncBufferFromFile(path);
  const metadata = await orFailure(path, () => parquetMetadataAsync(file));
  let rowStart = 0;
  for (const [index, group] of metadata.row_groups.entries()) {
    const rowEnd = rowStart + Number(group.num_rows);
    if (Number(group.total_byte_size) > maxGroupBytes) {
      throw new Failure(
        "input",
        `${path}: row group ${index} takes ${group.total_byte_size} bytes, at most ${maxGroupBytes} are read.`,
        "Write the file with smaller row groups.",
      );
    }
    const rows = await orFailure(path, () => parquetReadObjects({ file, metadata, compressors, rowStart, rowEnd }));
    for (const row of rows) yield plain(row) as Record<string, unknown>;
    rowStart = rowEnd;
  }
}

async function orFailure<Result>(path: string, read: () => Promise<Result>): Promise<Result> {
  try {
    return await read();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== undefined) throw error;
    throw new Failure("input", `${path} is no whole Parquet file: ${(error as Error).message}`, "Fetch it again.", {
      cause: error,
    });
  }
}

/** As JSON would have it, but for bytes, which stay. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null && !(value instanceof Date)) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
  }
  return typeof value === "bigint" || value instanceof Date ? toJson(value) : value;
}
