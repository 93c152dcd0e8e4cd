import { mayBeNamed } from "./header-lines.ts";

/**
 * The message is not forwarded, and its connection is closed, because the begin of the next message is unknown. `status` is for a request; a refused
 * response becomes 502.
 */
export class MessageRefused extends Error {
  readonly status: RefusedStatus;

  constructor(status: RefusedStatus, message: string) {
    super(message);
    this.name = "MessageRefused";
    this.status = status;
  }
}

type RefusedStatus = 400 | 408 | 413 | 414 | 431 | 501 | 505;

/**
 * The headers that describe where a body ends: the number of lines of each, and the value of one, untrimmed. Values with tabs or trailing spaces are
 * refused, because readers differ in what they trim.
 */
type Framing = { lengths: number; length: string; codings: number; coding: string; minorVersion: 0 | 1 };

/** The length of a body, "chunked", or undefined without such a header. Throws MessageRefused if two readers could differ (RFC 9112 §6.3). */
export function parseFraming({ lengths, length, codings, coding, minorVersion }: Framing): number | "chunked" | undefined {
  if (codings > 0) {
    if (lengths > 0) throw new MessageRefused(400, "The message has a Content-Length and a Transfer-Encoding");
    if (codings > 1) throw new MessageRefused(400, "The message has more than one Transfer-Encoding");
    if (minorVersion === 0) throw new MessageRefused(400, "A message of HTTP/1.0 must not have a Transfer-Encoding");
    if (!/^ *chunked$/i.test(coding)) throw new MessageRefused(501, "The Transfer-Encoding is not exactly chunked");
    return "chunked";
  }
  if (lengths === 0) return undefined;
  if (lengths > 1) throw new MessageRefused(400, "The message has more than one Content-Length");
  if (!/^ *\d+$/.test(length)) throw new MessageRefused(400, "The Content-Length is not a number");
  const bytes = Number(length);
  // Larger numbers are not exact.
  if (length.trimStart().length > 16 || !Number.isSafeInteger(bytes)) throw new MessageRefused(413, "The Content-Length is too large");
  return bytes;
}

const MAX_CONNECTION_BYTES = 2_048;

/** The members of `Connection`, in lower case. Throws MessageRefused if there are too many. */
export function membersOf(connection: string): readonly string[] {
  if (connection.length > MAX_CONNECTION_BYTES) throw new MessageRefused(431, "The Connection of the head is too long");
  return connection.split(",").map((member) => trimBlanks(member).toLowerCase());
}

/** Members that are not names of fields. */
const OPTIONS = ["keep-alive", "close", "upgrade"];

/** The fields that `Connection` makes hop-by-hop. */
export function namedIn(members: readonly string[]): ReadonlySet<string> | undefined {
  const named = members.filter((name) => name !== "" && !OPTIONS.includes(name) && mayBeNamed(name));
  return named.length === 0 ? undefined : new Set(named);
}

/** RFC 9112 §9.3. */
export function isPersistent(minorVersion: 0 | 1, connection: readonly string[]): boolean {
  if (connection.length === 0) return minorVersion === 1;
  return !connection.includes("close") && (minorVersion === 1 || connection.includes("keep-alive"));
}

/** Trims spaces and tabs only: JavaScript's `trim` also removes bytes that may begin a value. */
function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

export function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}
