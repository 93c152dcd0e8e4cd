/**
 * What says where a body ends: how many lines of each kind there are, and the value of one, with all that is between its colon and
 * the end of its line. Tabs and trailing spaces are refused in it: where readers differ, they do in what they trim.
 */
export type Framing = { lengths: number; length: string; codings: number; coding: string; minorVersion: 0 | 1 };

/**
 * The length of a body, or "chunked", or undefined where no line says. Whatever two readers could take in two ways is refused
 * (RFC 9112 §6.3).
 */
export function readFraming({ lengths, length, codings, coding, minorVersion }: Framing): number | "chunked" | undefined {
  if (codings > 0) {
    if (lengths > 0) throw new MessageRefused(400, "The message has a Content-Length and a Transfer-Encoding");
    if (codings > 1) throw new MessageRefused(400, "The message has more than one Transfer-Encoding");
    if (minorVersion === 0) throw new MessageRefused(400, "A message of HTTP/1.0 has no Transfer-Encoding");
    if (!/^ *chunked$/i.test(coding)) throw new MessageRefused(501, "The Transfer-Encoding is not exactly chunked");
    return "chunked";
  }
  if (lengths === 0) return undefined;
  if (lengths > 1) throw new MessageRefused(400, "The message has more than one Content-Length");
  if (!/^ *\d+$/.test(length)) throw new MessageRefused(400, "The Content-Length is not a number");
  const bytes = Number(length);
  // Beyond it numbers are not exact, here and elsewhere.
  if (length.trimStart().length > 16 || !Number.isSafeInteger(bytes))
    throw new MessageRefused(413, "The Content-Length is larger than any body can be");
  return bytes;
}

/**
 * A message that is not passed on; its connection ends, since nobody can say where its next message would begin. `status` answers a
 * request; a response that is refused is a container's fault, and its caller gets 502.
 */
export class MessageRefused extends Error {
  readonly status: RefusedStatus;

  constructor(status: RefusedStatus, sentence: string) {
    super(sentence);
    this.name = "MessageRefused";
    this.status = status;
  }
}

export type RefusedStatus = 400 | 408 | 413 | 414 | 431 | 501 | 505;
