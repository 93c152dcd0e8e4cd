import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { StringDecoder } from "node:string_decoder";
import type { Clock } from "../../lib/clock.ts";
import type { LogOptions, OwnedCall } from "../driver.ts";
import { isOwnedBy } from "../labels.ts";
import type { Records } from "./records.ts";

const PIECE = 64 * 1024;
/** How far back the last lines are searched. */
const TAIL_BYTES = 4 * 1024 * 1024;
const FOLLOW_EVERY_MS = 200;

/** With `follow`, ends when the service does. The log file has no times. */
export async function* logs(
  records: Records,
  clock: Clock,
  service: string,
  { tail, follow = false }: LogOptions,
  { signal, owner }: OwnedCall,
): AsyncGenerator<string> {
  signal.throwIfAborted();
  const record = records.find(service);
  if (!record || !isOwnedBy(record.labels, owner)) return;
  const file = await open(records.logPath(service)).catch(() => undefined);
  if (!file) return;
  try {
    const decoder = new StringDecoder("utf8");
    const { size } = await file.stat();
    let at = await startOfTail(file, size, tail);
    for (;;) {
      const running = follow && records.find(service)?.running === true;
      for (;;) {
        // What is written meanwhile is more than was requested.
        const length = follow ? PIECE : Math.min(PIECE, size - at);
        const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, at);
        signal.throwIfAborted();
        if (bytesRead === 0) break;
        at += bytesRead;
        const text = decoder.write(buffer.subarray(0, bytesRead));
        if (text !== "") yield text;
      }
      if (!running) return;
      // Cut meanwhile: the rest has been read already.
      const { size: now } = await file.stat();
      if (now < at) at = Math.min(now, LOG_BYTES.kept);
      await clock.sleep(FOLLOW_EVERY_MS, signal);
    }
  } finally {
    await file.close();
  }
}

/** Where the last `tail` lines begin. */
async function startOfTail(file: FileHandle, size: number, tail: number): Promise<number> {
  let lines = 0;
  for (let end = size; end > Math.max(0, size - TAIL_BYTES);) {
    const start = Math.max(0, end - PIECE);
    const { buffer } = await file.read(Buffer.alloc(end - start), 0, end - start, start);
    for (let at = buffer.length - 1; at >= 0; at--) {
      // The newline at the end closes the last line.
      if (buffer[at] === 0x0a && start + at !== size - 1 && ++lines === tail) return start + at + 1;
    }
    end = start;
  }
  return tail === 0 ? size : Math.max(0, size - TAIL_BYTES);
}

/** A log of more than `most` bytes is cut to its last `kept` bytes. */
const LOG_BYTES = { most: 16 * 1024 * 1024, kept: 1024 * 1024 };

/**
 * Keeps a service from filling the disk with its log. The service appends to the file, so only the content goes; what it writes at that moment may be
 * lost.
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
