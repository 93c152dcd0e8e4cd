import type { ByteSpan } from "../decision.ts";
import { isBlank } from "./framing.ts";
import { AT, END, KEY, LINE } from "./head-scan.ts";

/** The texts of a line as latin1. `head`: where the head begins in `memory`; `line`: its number. */
export function nameOf(memory: Buffer, head: number, lines: Int32Array, line: number): string {
  const at = head + (lines[line * LINE + AT] as number);
  return memory.toString("latin1", at, at + ((lines[line * LINE + KEY] as number) >> 8));
}

/** Without the spaces and tabs around it. */
export function valueOf(memory: Buffer, head: number, lines: Int32Array, line: number): string {
  const start = valueStart(memory, head, lines, line);
  const end = valueEnd(memory, head, lines, line, start);
  return start === end ? "" : memory.toString("latin1", start, end);
}

/** The same as bytes, in `span`. */
export function spanOf(memory: Buffer, head: number, lines: Int32Array, line: number, span: ByteSpan): ByteSpan {
  span.bytes = memory;
  span.start = valueStart(memory, head, lines, line);
  span.end = valueEnd(memory, head, lines, line, span.start);
  return span;
}

function valueStart(memory: Buffer, head: number, lines: Int32Array, line: number): number {
  const index = line * LINE;
  let start = head + (lines[index + AT] as number) + ((lines[index + KEY] as number) >> 8) + 1;
  const end = head + (lines[index + END] as number) - 2;
  while (start < end && isBlank(memory[start] as number)) start++;
  return start;
}

function valueEnd(memory: Buffer, head: number, lines: Int32Array, line: number, start: number): number {
  let end = head + (lines[line * LINE + END] as number) - 2;
  while (end > start && isBlank(memory[end - 1] as number)) end--;
  return end;
}

export function untrimmedValueOf(memory: Buffer, head: number, lines: Int32Array, line: number): string {
  const index = line * LINE;
  const start = (lines[index + AT] as number) + ((lines[index + KEY] as number) >> 8) + 1;
  return memory.toString("latin1", head + start, head + (lines[index + END] as number) - 2);
}
