import { setsCookie } from "../../lib/cookies.ts";
import type { HeaderEdits, HeaderLine } from "../decision.ts";
import { mayBeNamed, DROPPED, isName, markOf, NAME, UNSEEN, type KnownNames, parseFraming, MessageRefused } from "./header-lines.ts";

const CR = 13;
const LF = 10;
const COLON = 58;

export type HeadText = {
  /** The whole head as latin1, its empty line included. */
  text: string;
  /** For each line: the begin and end of its name, and the end of its value with trailing spaces. `HeaderBlock` takes over the list. */
  spans: number[];
  /** The begin of the first header line. */
  at: number;
};

export type ReadOptions = {
  known: KnownNames;
  /** Ignores lines with an underscore in their name: many servers treat `x_user` and `x-user` as one name. */
  dropUnderscores: boolean;
};

/** The header lines of a head as received, with their marks, and what is forwarded of them. */
export class HeaderBlock {
  readonly text: string;
  /** For each line: the begin and end of its name, and its mark. */
  readonly #lines: readonly number[];
  /** The end of the first line. */
  protected readonly lineEnd: number;
  /** By name id: the number of lines, and the index of the last one in `#lines`. */
  readonly #counts = [0, 0, 0, 0, 0, 0, 0, 0, 0];
  readonly #last = [0, 0, 0, 0, 0, 0, 0, 0, 0];
  /** A bit for each length of a name, modulo 32: excludes most names without a scan of the lines. */
  readonly #lengths: number;
  /** The members of `Connection`, in lower case. */
  protected readonly connection: readonly string[];
  readonly #named: ReadonlySet<string> | undefined;
  readonly #drops: boolean;

  /** A function of its own, so that it can be passed as a parameter. */
  readonly header = (name: string): string | undefined => {
    if (!this.#mayHave(name)) return undefined;
    let joined: string | undefined;
    const lines = this.#lines;
    for (let at = 0; at < lines.length; at += 3) {
      const start = lines[at] ?? 0;
      if ((lines[at + 1] ?? 0) - start !== name.length || !isName(this.text, start, name) || (lines[at + 2] ?? 0) >= UNSEEN) continue;
      const value = this.#value(at);
      joined = joined === undefined ? value : `${joined}${name === "cookie" ? "; " : ", "}${value}`;
    }
    return joined;
  };

  /** Verifies that the text contains nothing but the parser's `spans`. */
  constructor({ text, spans, at }: HeadText, { known, dropUnderscores }: ReadOptions) {
    this.text = text;
    this.lineEnd = at;
    const end = text.length - 2;
    let drops = false;
    let lengths = 0;
    let underscore = dropUnderscores ? text.indexOf("_", at) : -1;
    let lineStart = at;
    for (let next = 0; next < spans.length; next += 3) {
      const start = spans[next] ?? 0;
      const nameEnd = spans[next + 1] ?? 0;
      const lineEnd = next + 3 < spans.length ? (spans[next + 3] ?? 0) : end;
      if (
        start !== lineStart ||
        nameEnd <= start ||
        spans[next + 2] !== lineEnd - 2 ||
        text.charCodeAt(nameEnd) !== COLON ||
        text.charCodeAt(lineEnd - 2) !== CR ||
        text.charCodeAt(lineEnd - 1) !== LF
      )
        throw new MessageRefused(400, "A header line is malformed");
      lineStart = lineEnd;
      let mark = markOf(known, text, start, nameEnd);
      if (underscore !== -1) {
        if (underscore < start) underscore = text.indexOf("_", start);
        if (underscore !== -1 && underscore < nameEnd) mark |= DROPPED | UNSEEN;
      }
      drops ||= mark >= DROPPED;
      lengths |= 1 << (nameEnd - start);
      const id = mark & (DROPPED - 1);
      if (id !== NAME.other) {
        this.#counts[id] = (this.#counts[id] ?? 0) + 1;
        this.#last[id] = next;
      }
      // The end of the value follows from the end of its line, so the list needs no fourth number.
      spans[next + 2] = mark;
    }
    this.#lines = spans;
    if (lineStart !== end || text.charCodeAt(end) !== CR || text.charCodeAt(end + 1) !== LF)
      throw new MessageRefused(400, "The head does not end with an empty line");
    this.#lengths = lengths;
    this.connection = this.#counts[NAME.connection] === 0 ? NONE : membersOf(this.header("connection") ?? "");
    this.#named = namedIn(this.connection);
    this.#drops = drops || this.#named !== undefined;
  }

  /** The number of lines with this name. */
  protected count(id: number): number {
    return this.#counts[id] ?? 0;
  }

  /** The value of the last line with this name. */
  protected last(id: number): string {
    return this.#value(this.#last[id] ?? 0);
  }

  /** The body's length in bytes, "chunked", or undefined. */
  protected framing(minorVersion: 0 | 1): number | "chunked" | undefined {
    const lengths = this.count(NAME.length);
    const codings = this.count(NAME.coding);
    if (lengths + codings === 0) return undefined;
    return parseFraming({
      lengths,
      length: lengths > 0 ? this.#raw(NAME.length) : "",
      codings,
      coding: codings > 0 ? this.#raw(NAME.coding) : "",
      minorVersion,
    });
  }

  /** In lower case and order; repeated names repeat. */
  names(): string[] {
    const names: string[] = [];
    for (let at = 0; at < this.#lines.length; at += 3) if ((this.#lines[at + 2] ?? 0) < UNSEEN) names.push(this.#name(at).toLowerCase());
    return names;
  }

  /** The forwarded lines, and those that `edits` add. `alsoDropped`: ids of names. */
  lines(edits: HeaderEdits, alsoDropped: readonly number[] = NO_IDS): HeaderLine[] {
    const lines: HeaderLine[] = [];
    for (let at = 0; at < this.#lines.length; at += 3) if (!this.#isDropped(at, edits, alsoDropped)) lines.push([this.#name(at), this.#value(at)]);
    return [...lines, ...edits.add];
  }

  /** The text of the forwarded lines, without the empty line. */
  protected kept(edits: HeaderEdits, alsoDropped: readonly number[] = NO_IDS): string {
    const end = this.text.length - 2;
    if (!this.#drops && alsoDropped.length === 0 && !this.#mayRemove(edits)) return this.text.slice(this.lineEnd, end);
    let kept = "";
    let run = this.lineEnd;
    const lines = this.#lines;
    for (let at = 0; at < lines.length; at += 3) {
      if (!this.#isDropped(at, edits, alsoDropped)) continue;
      const start = lines[at] ?? 0;
      if (start > run) kept += this.text.slice(run, start);
      run = lines[at + 3] ?? end;
    }
    return run < end ? kept + this.text.slice(run, end) : kept;
  }

  /** `kept` omits at least one line. */
  protected omitsLines(edits: HeaderEdits): boolean {
    if (this.#drops) return true;
    if (!this.#mayRemove(edits)) return false;
    for (let at = 0; at < this.#lines.length; at += 3) if (this.#isRemoved(at, edits)) return true;
    return false;
  }

  /** False: no line has this name. */
  #mayHave(name: string): boolean {
    return (this.#lengths & (1 << name.length)) !== 0;
  }

  /** False: these edits remove no line. */
  #mayRemove({ remove, removeCookies }: HeaderEdits): boolean {
    if (removeCookies !== undefined && this.count(NAME.setCookie) > 0) return true;
    for (const name of remove) if (this.#mayHave(name)) return true;
    return false;
  }

  #isRemoved(at: number, { remove, removeCookies }: HeaderEdits): boolean {
    if (remove.length > 0 && this.#isOneOf(at, remove)) return true;
    if (removeCookies === undefined || ((this.#lines[at + 2] ?? 0) & (DROPPED - 1)) !== NAME.setCookie) return false;
    return setsCookie(this.#value(at), removeCookies);
  }

  #isDropped(at: number, edits: HeaderEdits, alsoDropped: readonly number[]): boolean {
    const mark = this.#lines[at + 2] ?? 0;
    return (
      mark >= DROPPED ||
      this.#isRemoved(at, edits) ||
      this.#named?.has(this.#name(at).toLowerCase()) === true ||
      (alsoDropped.length > 0 && alsoDropped.includes(mark))
    );
  }

  #isOneOf(at: number, names: readonly string[]): boolean {
    const start = this.#lines[at] ?? 0;
    const length = (this.#lines[at + 1] ?? 0) - start;
    for (const name of names) if (name.length === length && isName(this.text, start, name)) return true;
    return false;
  }

  /** The untrimmed value of the last line with this name. */
  #raw(id: number): string {
    const at = this.#last[id] ?? 0;
    return this.text.slice((this.#lines[at + 1] ?? 0) + 1, (this.#lines[at + 3] ?? this.text.length - 2) - 2);
  }

  #name(at: number): string {
    return this.text.slice(this.#lines[at], this.#lines[at + 1]);
  }

  #value(at: number): string {
    return trimmed(this.text, (this.#lines[at + 1] ?? 0) + 1, (this.#lines[at + 3] ?? this.text.length - 2) - 2);
  }
}

const NONE: readonly string[] = [];
const NO_IDS: readonly number[] = [];

/** Trims spaces and tabs only: JavaScript's `trim` also removes bytes that may begin a value. */
function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}

/** Throws MessageRefused if there are too many. */
function membersOf(connection: string): readonly string[] {
  const common = COMMON_CONNECTIONS.get(connection);
  if (common !== undefined) return common;
  if (connection.length > MAX_CONNECTION_BYTES) throw new MessageRefused(431, "The Connection of the head is too long");
  return connection.split(",").map((member) => trimmed(member, 0, member.length).toLowerCase());
}

const MAX_CONNECTION_BYTES = 2_048;
const COMMON_CONNECTIONS: ReadonlyMap<string, readonly string[]> = new Map(
  ["keep-alive", "Keep-Alive", "close", "upgrade", "Upgrade"].map((value) => [value, [value.toLowerCase()]]),
);

/** The fields that `Connection` makes hop-by-hop. */
function namedIn(members: readonly string[]): ReadonlySet<string> | undefined {
  if (members.length === 0 || (members.length === 1 && OPTIONS.includes(members[0] ?? ""))) return undefined;
  const named = members.filter((name) => name !== "" && !OPTIONS.includes(name) && mayBeNamed(name));
  return named.length === 0 ? undefined : new Set(named);
}

/** Members that are not names of fields. */
const OPTIONS = ["keep-alive", "close", "upgrade"];
