import type { ByteSpan } from "../decision.ts";
import { DROPPED, NAME } from "./header-lines.ts";
import { isBlank } from "./framing.ts";

/** Numbers of a line in `HeadScan.lines`. */
export const LINE = 4;
/** Offset of the name, from the head's first byte. */
export const AT = 0;
/** `keyOf` the name. */
export const KEY = 1;
/** A number of `NAME` and flags. */
export const MARK = 2;
/** Offset after the line's CRLF. */
export const END = 3;

/** Framing of a head without `Content-Length` and `Transfer-Encoding`, and of a chunked body; else the length in bytes. */
export const NO_BODY = -1;
export const CHUNKED = -2;

/** Bits of a name that most other names differ in: its length, and its first letter in lower case. */
export function keyOf(length: number, first: number): number {
  return (length << 8) | first | 32;
}

export function keyOfName(name: string): number {
  return keyOf(name.length, name.charCodeAt(0));
}

/** The bit of a key in `HeadScan.keys`. */
export function bitOf(key: number): number {
  return 1 << ((key ^ (key >> 8)) & 31);
}

const NO_BYTES = new Uint8Array(0);

/**
 * What was read of one head. One object for all readers of a process, so that a head costs no memory of its own: the scanner or the parser fills it, the
 * head copies its fields, and the lines stay the head's until another is read.
 */
export class HeadScan {
  /** Four numbers for each line. */
  lines = new Int32Array(64 * LINE);
  count = 0;
  /** Counts the heads that were read. A head whose number it is has these lines: a reference to the head would cost the garbage collector time. */
  reads = 0;
  /** Bytes of the first line, and of the whole head. */
  firstLine = 0;
  length = 0;
  /** A bit for each key, and one for each number of `NAME`: they exclude most look-ups without a walk over the lines. */
  keys = 0;
  names = 0;
  /** At least one line is not forwarded. */
  drops = false;
  /** The fields that `Connection` makes hop-by-hop. */
  named: ReadonlySet<string> | undefined;
  minorVersion: 0 | 1 = 1;
  framing = NO_BODY;
  persistent = true;
  /** `Connection` contains `upgrade`. */
  switches = false;
  method = "";
  /** Offsets of the target. */
  targetAt = 0;
  targetEnd = 0;
  websocket = false;
  expectsContinue = false;
  status = 0;
  /** Returned by look-ups. */
  readonly span: ByteSpan = { bytes: NO_BYTES, start: 0, end: 0 };

  begin(): void {
    this.reads = (this.reads + 1) | 0;
    this.count = 0;
    this.keys = 0;
    this.names = 0;
    this.drops = false;
    this.named = undefined;
    this.minorVersion = 1;
    this.framing = NO_BODY;
    this.persistent = true;
    this.switches = false;
    this.websocket = false;
    this.expectsContinue = false;
  }

  /** Offsets from the head's first byte. `first`: the name's first byte. */
  addLine(at: number, key: number, mark: number, end: number): void {
    const index = this.count * LINE;
    if (index === this.lines.length) this.#grow();
    const { lines } = this;
    lines[index + AT] = at;
    lines[index + KEY] = key;
    lines[index + MARK] = mark;
    lines[index + END] = end;
    this.count++;
    this.keys |= bitOf(key);
    this.names |= 1 << (mark & (DROPPED - 1));
    if (mark >= DROPPED) this.drops = true;
  }

  has(name: number): boolean {
    return (this.names & (1 << name)) !== 0;
  }

  /** A head of 64 KiB has 16,384 lines at most. */
  #grow(): void {
    const larger = new Int32Array(this.lines.length * 2);
    larger.set(this.lines);
    this.lines = larger;
  }
}

/** Names that a plain response or request has once at most. */
export const SINGLE = (1 << NAME.host) | (1 << NAME.length) | (1 << NAME.coding) | (1 << NAME.connection) | (1 << NAME.upgrade);

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
