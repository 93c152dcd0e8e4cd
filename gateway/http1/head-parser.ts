import { CODE, KIND, openLlhttp, type Llhttp } from "./llhttp.ts";
import { MessageRefused } from "./framing.ts";
import { isForeign, refusedVersion } from "./request-head.ts";

/** How much of a chunk is given to the parser at first: most heads are shorter, and what is behind them need not be copied. */
const FIRST_PIECE = 4_096;

export type ParsedHead = { text: string; spans: number[]; targetStart: number; targetEnd: number; /** Behind the head, in the chunk. */ end: number };

export type HeadParser = {
  llhttp: Llhttp;
  scratch: number;
  scratchBytes: number;
  /** Reads a head from its first byte; undefined where more is needed. Throws MessageRefused. */
  parse(kind: keyof typeof KIND, chunk: Buffer, from: number, to: number): ParsedHead | undefined;
  /** Who gets what a chunked body's run tells. */
  listen(body: BodyListener | undefined): void;
};

export type BodyListener = {
  name(at: number, length: number): void;
  value(at: number, length: number): void;
  body(at: number, length: number): void;
};

/** One parser for every connection: a head is read in one go, from bytes that are all there. `scratchBytes`: the longest head. */
export function openHeadParser(scratchBytes: number): HeadParser {
  let targetStart = 0;
  let targetEnd = 0;
  let spans: number[] = [];
  let listener: BodyListener | undefined;
  const llhttp = openLlhttp({
    target: (at, length) => {
      targetStart = at - scratch;
      targetEnd = at - scratch + length;
    },
    name: (at, length) => {
      if (listener !== undefined) return listener.name(at, length);
      spans.push(at - scratch, at - scratch + length);
    },
    value: (at, length) => {
      if (listener !== undefined) return listener.value(at, length);
      // An empty value is told behind its line's end.
      spans.push(length === 0 ? at - scratch - 2 : at - scratch + length);
    },
    headEnd: () => (listener === undefined ? CODE.paused : CODE.ok),
    body: (at, length) => listener?.body(at, length),
    messageEnd: () => CODE.paused,
  });
  const { exports } = llhttp;
  const scratch = exports.malloc(scratchBytes);
  const parsers = { request: exports.llhttp_alloc(KIND.request), response: exports.llhttp_alloc(KIND.response) };

  function parse(kind: keyof typeof KIND, chunk: Buffer, from: number, to: number): ParsedHead | undefined {
    const parser = parsers[kind];
    const length = to - from;
    for (let piece = Math.min(length, FIRST_PIECE); ; piece = Math.min(length, piece * 4)) {
      chunk.copy(llhttp.memory(), scratch, from, from + piece);
      spans = [];
      targetStart = 0;
      targetEnd = 0;
      exports.llhttp_reset(parser);
      const code = exports.llhttp_execute(parser, scratch, piece);
      if (code === CODE.paused) {
        const end = from + exports.llhttp_get_error_pos(parser) - scratch;
        return { text: chunk.toString("latin1", from, end), spans, targetStart, targetEnd, end };
      }
      if (code !== CODE.ok) throw refusal(kind, code, parser, chunk, from);
      if (piece === length) return undefined;
    }
  }

  /** Looks no further than at the byte that failed: how the bytes before it were cut into pieces must not matter. */
  function refusal(kind: keyof typeof KIND, code: number, parser: number, chunk: Buffer, from: number): MessageRefused {
    const failed = from + exports.llhttp_get_error_pos(parser) - scratch;
    if (kind === "request") {
      if (code === CODE.invalidMethod && isTokenByte(chunk[failed] ?? 0)) return new MessageRefused(501, "There is no such method here");
      // A method of RTSP, which the parser knows, in a request of HTTP.
      if (code === CODE.invalidConstant && isForeign(chunk.toString("latin1", from, from + targetStart - 1)))
        return new MessageRefused(501, "There is no such method here");
      if (code === CODE.invalidVersion) return refusedVersion(chunk.toString("latin1", from, failed + 1), targetEnd);
    }
    return new MessageRefused(400, `The head is malformed: ${llhttp.reason(parser)}`);
  }

  return { llhttp, scratch, scratchBytes, parse, listen: (body) => void (listener = body) };
}

function isTokenByte(byte: number): boolean {
  return /[!#$%&'*+\-.^_`|~\dA-Za-z]/.test(String.fromCharCode(byte));
}
