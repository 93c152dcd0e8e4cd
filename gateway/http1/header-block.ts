import { setsCookie } from "../../lib/cookies.ts";
import type { HeaderEdits, HeaderLine } from "../decision.ts";
import { mayBeNamed, DROPPED, isName, markOf, NAME, UNSEEN, type KnownNames, readFraming, MessageRefused } from "./header-lines.ts";

const CR = 13;
const LF = 10;
const COLON = 58;

export type HeadText = {
  /** The whole head as latin1, its empty line included. */
  text: string;
  /** Of each line: where its name begins and ends, and where its value ends, spaces behind it included. Whoever makes a block of it keeps the list. */
  spans: number[];
  /** Where the first header line begins. */
  at: number;
};

export type ReadOptions = {
  known: KnownNames;
  /** Lines whose name has an underscore are taken for not there: many servers make `x_user` and `x-user` one name. */
  dropUnderscores: boolean;
};

/** The header lines of a head as they came, what they are to a proxy, and how they are sent on. */
export class HeaderBlock {
  readonly text: string;
  /** Of each line: where its name begins, where it ends, and its mark. */
  readonly #lines: readonly number[];
  /** Where the first line ends. */
  protected readonly lineEnd: number;
  /** How many lines there are of each that matters, and where the last one is in `#lines`. */
  readonly #counts = [0, 0, 0, 0, 0, 0, 0, 0, 0];
  readonly #last = [0, 0, 0, 0, 0, 0, 0, 0, 0];
  /** A bit for each length of a name, modulo 32: most names that are looked up or removed are ruled out by it, without a look at the lines. */
  readonly #lengths: number;
  /** The members of `Connection`, in lower case. */
  protected readonly connection: readonly string[];
  readonly #named: ReadonlySet<string> | undefined;
  readonly #drops: boolean;

  /** May be handed on by itself: those who ask for headers take a function. */
  readonly header = (name: string): string | undefined => {
    if (!this.#mayHave(name)) return undefined;
    let found: string | undefined;
    const lines = this.#lines;
    for (let at = 0; at < lines.length; at += 3) {
      const start = lines[at] ?? 0;
      if ((lines[at + 1] ?? 0) - start !== name.length || !isName(this.text, start, name) || (lines[at + 2] ?? 0) >= UNSEEN) continue;
      const value = this.#value(at);
      found = found === undefined ? value : `${found}${name === "cookie" ? "; " : ", "}${value}`;
    }
    return found;
  };

  /** `spans` is what the parser found; that nothing but them is in the text is looked at again here. */
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
      // A value ends where its line does, which is known now: no second list has to be made.
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

  /** How many lines have this name. */
  protected count(id: number): number {
    return this.#counts[id] ?? 0;
  }

  /** The value of the last line with this name. */
  protected last(id: number): string {
    return this.#value(this.#last[id] ?? 0);
  }

  /** What these lines say of the body's length: in bytes, chunked, or nothing. */
  protected framing(minorVersion: 0 | 1): number | "chunked" | undefined {
    const lengths = this.count(NAME.length);
    const codings = this.count(NAME.coding);
    if (lengths + codings === 0) return undefined;
    return readFraming({
      lengths,
      length: lengths > 0 ? this.#raw(NAME.length) : "",
      codings,
      coding: codings > 0 ? this.#raw(NAME.coding) : "",
      minorVersion,
    });
  }

  /** In lower case and order, a repeated one as often as it came. */
  names(): string[] {
    const names: string[] = [];
    for (let at = 0; at < this.#lines.length; at += 3) if ((this.#lines[at + 2] ?? 0) < UNSEEN) names.push(this.#name(at).toLowerCase());
    return names;
  }

  /** The lines that travel on, and those that `edits` add; `alsoDropped` are ids of names. */
  lines(edits: HeaderEdits, alsoDropped: readonly number[] = NO_IDS): HeaderLine[] {
    const lines: HeaderLine[] = [];
    for (let at = 0; at < this.#lines.length; at += 3) if (!this.#isDropped(at, edits, alsoDropped)) lines.push([this.#name(at), this.#value(at)]);
    return [...lines, ...edits.add];
  }

  /** Their very bytes, up to the empty line and without it. */
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

  /** Whether `kept` would leave any line out. */
  protected leavesOut(edits: HeaderEdits): boolean {
    if (this.#drops) return true;
    if (!this.#mayRemove(edits)) return false;
    for (let at = 0; at < this.#lines.length; at += 3) if (this.#isRemoved(at, edits)) return true;
    return false;
  }

  /** False where no line has this name. */
  #mayHave(name: string): boolean {
    return (this.#lengths & (1 << name.length)) !== 0;
  }

  /** False where these edits remove no line. */
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

  /** All between the colon and the end of the last line with this name. */
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

/** Without the spaces and tabs around it, and no other: a value may begin with a byte that JavaScript takes for a space. */
export function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}

/** Faults: 431 where there are more than anybody means. */
function membersOf(connection: string): readonly string[] {
  const usual = USUAL.get(connection);
  if (usual !== undefined) return usual;
  if (connection.length > MAX_CONNECTION_BYTES) throw new MessageRefused(431, "The Connection of the head is too long");
  return connection.split(",").map((member) => trimmed(member, 0, member.length).toLowerCase());
}

const MAX_CONNECTION_BYTES = 2_048;
const USUAL: ReadonlyMap<string, readonly string[]> = new Map(
  ["keep-alive", "Keep-Alive", "close", "upgrade", "Upgrade"].map((value) => [value, [value.toLowerCase()]]),
);

/** What `Connection` makes hop-by-hop, if anything. */
function namedIn(members: readonly string[]): ReadonlySet<string> | undefined {
  if (members.length === 0 || (members.length === 1 && OPTIONS.includes(members[0] ?? ""))) return undefined;
  const named = members.filter((name) => name !== "" && !OPTIONS.includes(name) && mayBeNamed(name));
  return named.length === 0 ? undefined : new Set(named);
}

/** Members that name no field. */
const OPTIONS = ["keep-alive", "close", "upgrade"];
