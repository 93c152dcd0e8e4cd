import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";

/** A log that has grown beyond `most` bytes is cut to its last `kept`. */
export const LOG_BYTES = { most: 16 * 1024 * 1024, kept: 1024 * 1024 };

/**
 * Keeps a chatty service from filling the disk. It appends to its log by itself, so the file stays and only its contents go; what
 * it writes in this very moment may be lost.
 */
export function cutLog(path: string): void {
  let file: number;
  try {
    file = openSync(path, "r+");
  } catch {
    return;
  }
  try {
    const { size } = fstatSync(file);
    if (size <= LOG_BYTES.most) return;
    const last = Buffer.alloc(LOG_BYTES.kept);
    const read = readSync(file, last, 0, last.length, size - last.length);
    // Whole lines only.
    const kept = last.subarray(last.indexOf("\n") + 1, read);
    ftruncateSync(file, 0);
    writeSync(file, kept, 0, kept.length, 0);
  } finally {
    closeSync(file);
  }
}
