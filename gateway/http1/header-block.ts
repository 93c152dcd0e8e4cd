import { setsCookie } from "../../lib/cookies.ts";
import type { ByteSpan, HeaderEdits, HeaderLine } from "../decision.ts";
import { addedLines, putRange } from "./write-lines.ts";
import { isNameAt } from "./byte-tables.ts";
import { AT, bitOf, END, KEY, keyOfName, LINE, MARK, type HeadScan, nameOf, spanOf, valueOf } from "./head-scan.ts";
import type { HeadSource } from "./head-source.ts";
import { DROPPED, NAME, REMOVED, UNSEEN } from "./header-lines.ts";

/** Where a head is written: bytes are reserved in `memory`, written there, and sent. The results are those of `Connection`. */
export type HeadOutput = { readonly memory: Buffer; place(bytes: number): number; placed(bytes: number): boolean; sendOwn(bytes: Buffer): boolean };

/**
 * A head as received: bytes of the reader's memory, its lines found when they are needed. It is valid until its reader reads on, or drops it; `keep`
 * copies it for longer.
 */
export class HeaderBlock {
  /** In bytes, its empty line included. */
  readonly length: number;
  /** Of the first line, in bytes. */
  protected readonly firstLine: number;
  readonly #source: HeadSource;
  readonly #keys: number;
  readonly #names: number;
  readonly #drops: boolean;
  readonly #named: ReadonlySet<string> | undefined;
  /** Undefined: not valid any more, but for `#text`. */
  #memory: Buffer | undefined;
  #at: number;
  /** Its number among those that the source has read. */
  #read: number;
  /** The kept copy, as latin1: it costs less than a buffer, and no pool of memory is held by it. */
  #text: string | undefined;

  /** Takes over what `source` has read at `at`. */
  constructor(source: HeadSource, memory: Buffer, at: number) {
    const { scan } = source;
    this.length = scan.length;
    this.firstLine = scan.firstLine;
    this.#source = source;
    this.#keys = scan.keys;
    this.#names = scan.names;
    this.#drops = scan.drops;
    this.#named = scan.named;
    this.#memory = memory;
    this.#at = at;
    this.#read = scan.reads;
  }

  /** The head as latin1. */
  get text(): string {
    return this.#text ?? this.bytes().toString("latin1", this.#at, this.#at + this.length);
  }

  /** Copies the head, so that it stays valid. May be repeated. */
  keep(): void {
    this.#text ??= this.text;
  }

  /** The memory is about to be used for other bytes. */
  expire(): void {
    this.#memory = undefined;
  }

  /** The value of a header by its lower-case name; repeated ones joined. */
  header(name: string): string | undefined {
    let joined: string | undefined;
    for (let line = this.#lineOf(name, 0); line !== -1; line = this.#lineOf(name, line + 1)) {
      const value = valueOf(this.bytes(), this.#at, this.#scan().lines, line);
      joined = joined === undefined ? value : `${joined}${name === "cookie" ? "; " : ", "}${value}`;
    }
    return joined;
  }

  /** At least one line has this name (lower case). */
  hasHeader(name: string): boolean {
    return this.#lineOf(name, 0) !== -1;
  }

  /** The value of the only line with this name (lower case). Valid until the next call, for this head or another. */
  headerSpan(name: string): ByteSpan | undefined {
    const line = this.#lineOf(name, 0);
    if (line === -1 || this.#lineOf(name, line + 1) !== -1) return undefined;
    const { span, lines } = this.#scan();
    return spanOf(this.bytes(), this.#at, lines, line, span);
  }

  /** In lower case and order; repeated names repeat. */
  names(): string[] {
    const memory = this.bytes();
    const { lines, count } = this.#scan();
    const names: string[] = [];
    for (let line = 0; line < count; line++)
      if ((lines[line * LINE + MARK] as number) < UNSEEN) names.push(nameOf(memory, this.#at, lines, line).toLowerCase());
    return names;
  }

  /** The forwarded lines, and those that `edits` add. `alsoDropped`: a bit for each number of `NAME`. */
  lines(edits: HeaderEdits, alsoDropped = 0): HeaderLine[] {
    const memory = this.bytes();
    this.#mark(edits, alsoDropped);
    const { lines, count } = this.#scan();
    const kept: HeaderLine[] = [];
    for (let line = 0; line < count; line++)
      if (!takeDropped(lines, line)) kept.push([nameOf(memory, this.#at, lines, line), valueOf(memory, this.#at, lines, line)]);
    return [...kept, ...addedLines(edits)];
  }

  /** A head has such a line. */
  protected has(name: number): boolean {
    return (this.#names & (1 << name)) !== 0;
  }

  /** Where the head begins in `bytes()`. */
  protected get at(): number {
    return this.#at;
  }

  protected bytes(): Buffer {
    const memory = this.#memory;
    if (memory !== undefined) return memory;
    if (this.#text === undefined) throw new Error("The head is not valid any more: it was not kept");
    this.#memory = Buffer.from(this.#text, "latin1");
    this.#at = 0;
    return this.#memory;
  }

  /** Copies the forwarded lines to `out`, and returns the offset after them. Neighbours are copied at once. */
  protected putKept(out: Buffer, to: number, edits: HeaderEdits, alsoDropped = 0): number {
    const memory = this.bytes();
    const head = this.#at;
    const end = this.length - 2;
    const marks = this.#mark(edits, alsoDropped);
    if (!this.#drops && !marks) return putRange(memory, head + this.firstLine, head + end, out, to);
    const { lines, count } = this.#scan();
    let next = to;
    let run = this.firstLine;
    for (let line = 0; line < count; line++) {
      if (!takeDropped(lines, line)) continue;
      const start = lines[line * LINE + AT] as number;
      if (start > run) next = putRange(memory, head + run, head + start, out, next);
      run = lines[line * LINE + END] as number;
    }
    return run < end ? putRange(memory, head + run, head + end, out, next) : next;
  }

  /** `putKept` omits at least one line. */
  protected omitsLines(edits: HeaderEdits): boolean {
    if (this.#drops) return true;
    if (!this.#mark(edits, 0)) return false;
    const { lines, count } = this.#scan();
    for (let line = 0; line < count; line++) takeDropped(lines, line);
    return true;
  }

  /** The next line with this name (lower case) from line `from`, or -1. */
  #lineOf(name: string, from: number): number {
    const key = keyOfName(name);
    if ((this.#keys & bitOf(key)) === 0) return -1;
    const memory = this.bytes();
    const { lines, count } = this.#scan();
    for (let line = from; line < count; line++) {
      const index = line * LINE;
      if (lines[index + KEY] !== key || (lines[index + MARK] as number) >= UNSEEN) continue;
      if (isNameAt(memory, this.#at + (lines[index + AT] as number), name)) return line;
    }
    return -1;
  }

  /** The lines, which another head may have replaced. */
  #scan(): HeadScan {
    const { scan } = this.#source;
    if (scan.reads !== this.#read) {
      const memory = this.bytes();
      this.#source.read(memory, this.#at, this.#at + this.length);
      this.#read = scan.reads;
    }
    return scan;
  }

  /** Marks the lines that these edits remove, in one walk. The caller passes each line to `takeDropped` if there are any. */
  #mark({ remove, removeCookies }: HeaderEdits, alsoDropped: number): boolean {
    const cookies = removeCookies !== undefined && this.has(NAME.setCookie) ? removeCookies : undefined;
    if (cookies === undefined && alsoDropped === 0 && this.#named === undefined && !this.#mayHaveOneOf(remove)) return false;
    const { lines, count } = this.#scan();
    let marks = false;
    for (let line = 0; line < count; line++) {
      const index = line * LINE + MARK;
      const mark = lines[index] as number;
      const name = mark & (DROPPED - 1);
      const removes =
        (alsoDropped & (1 << name)) !== 0 ||
        this.#isNamedIn(remove, lines, line) ||
        (cookies !== undefined && name === NAME.setCookie && setsCookie(valueOf(this.bytes(), this.#at, lines, line), cookies)) ||
        this.#named?.has(nameOf(this.bytes(), this.#at, lines, line).toLowerCase()) === true;
      if (!removes) continue;
      lines[index] = mark | REMOVED;
      marks = true;
    }
    return marks;
  }

  #mayHaveOneOf(names: readonly string[]): boolean {
    for (const name of names) if ((this.#keys & bitOf(keyOfName(name))) !== 0) return true;
    return false;
  }

  #isNamedIn(names: readonly string[], lines: Int32Array, line: number): boolean {
    const index = line * LINE;
    for (const name of names)
      if (lines[index + KEY] === keyOfName(name) && isNameAt(this.bytes(), this.#at + (lines[index + AT] as number), name)) return true;
    return false;
  }
}

/** The line is not forwarded. Removes the mark of these edits. */
function takeDropped(lines: Int32Array, line: number): boolean {
  const index = line * LINE + MARK;
  const mark = lines[index] as number;
  if (mark < DROPPED) return false;
  lines[index] = mark & ~REMOVED;
  return true;
}
