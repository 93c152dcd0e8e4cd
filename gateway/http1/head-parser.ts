import plainProgram from "undici/lib/llhttp/llhttp-wasm.js";
import simdProgram from "undici/lib/llhttp/llhttp_simd-wasm.js";
import { TOKEN } from "./byte-tables.ts";
import { refusedVersion, isUnknownMethod } from "./first-line.ts";
import { MessageRefused } from "./framing.ts";

/**
 * A complete head. `spans`: for each line the begin and end of its name, and the end of its value with trailing spaces. Offsets are from its first byte,
 * but for `end`: within the chunk.
 */
export type ParsedHead = { spans: number[]; targetStart: number; targetEnd: number; end: number };

export type HeadParser = {
  llhttp: Llhttp;
  /** Memory for input, of `scratchBytes`. */
  scratch: number;
  scratchBytes: number;
  /** Parses a head from its first byte; undefined if more bytes are needed. Throws MessageRefused. */
  parse(kind: keyof typeof KIND, chunk: Buffer, from: number, to: number): ParsedHead | undefined;
  /** Sets the receiver of the events of a chunked body. */
  listen(body: BodyListener | undefined): void;
};

export type BodyListener = {
  name(at: number, length: number): void;
  value(at: number, length: number): void;
  body(at: number, length: number): void;
};

/** Bytes that the parser gets at first: most heads are shorter, and what follows them need not be copied. */
const FIRST_PIECE = 4_096;

/** One parser for all connections, because it parses a head in one call. `scratchBytes`: the longest head. */
export function createHeadParser(scratchBytes: number): HeadParser {
  let targetStart = 0;
  let targetEnd = 0;
  let spans: number[] = [];
  let listener: BodyListener | undefined;
  const llhttp = createLlhttp({
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
      // The position of an empty value is after the end of its line.
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
        return { spans, targetStart, targetEnd, end };
      }
      if (code !== CODE.ok) throw refusal(kind, code, parser, chunk, from);
      if (piece === length) return undefined;
    }
  }

  /** Reads no further than the byte that failed: the result must not depend on how the bytes were split. */
  function refusal(kind: keyof typeof KIND, code: number, parser: number, chunk: Buffer, from: number): MessageRefused {
    const failed = from + exports.llhttp_get_error_pos(parser) - scratch;
    if (kind === "request") {
      const isUnknown =
        (code === CODE.invalidMethod && TOKEN[chunk[failed] ?? 0] === 1) ||
        // llhttp knows methods of RTSP, and refuses them in a request of HTTP.
        (code === CODE.invalidConstant && isUnknownMethod(chunk.toString("latin1", from, from + targetStart - 1)));
      if (isUnknown) return new MessageRefused(501, "The method is not supported");
      if (code === CODE.invalidVersion) return refusedVersion(chunk.toString("latin1", from, failed + 1), targetEnd);
    }
    return new MessageRefused(400, `The head is malformed: ${llhttp.reason(parser)}`);
  }

  return { llhttp, scratch, scratchBytes, parse, listen: (body) => void (listener = body) };
}

/** The used exports of llhttp's WebAssembly build. A pointer is an offset in its memory. */
type LlhttpExports = {
  memory: WebAssembly.Memory;
  _initialize(): void;
  malloc(size: number): number;
  llhttp_alloc(kind: number): number;
  llhttp_free(parser: number): void;
  llhttp_reset(parser: number): void;
  llhttp_execute(parser: number, data: number, length: number): number;
  llhttp_get_error_pos(parser: number): number;
  llhttp_get_error_reason(parser: number): number;
};

/** Events of a run. Positions are offsets in the memory. A result other than 0 ends the run with that code. */
type LlhttpListener = {
  target(at: number, length: number): void;
  name(at: number, length: number): void;
  value(at: number, length: number): void;
  headEnd(): number;
  body(at: number, length: number): void;
  messageEnd(): number;
};

export const KIND = { request: 1, response: 2 } as const;

/** Numbers of llhttp (undici/lib/llhttp/constants.js). */
export const CODE = { ok: 0, invalidMethod: 6, invalidConstant: 8, invalidVersion: 9, paused: 21 } as const;

type Llhttp = {
  exports: LlhttpExports;
  /** The memory; another object after an allocation. */
  memory(): Buffer;
  /** Why the last run of this parser failed, in llhttp's words. */
  reason(parser: number): string;
};

/** Instantiates llhttp. None of its leniency flags is ever set. */
function createLlhttp(listener: LlhttpListener): Llhttp {
  const nothing = () => 0;
  const env = {
    wasm_on_message_begin: nothing,
    wasm_on_status: nothing,
    wasm_on_url: (_: number, at: number, length: number) => (listener.target(at, length), 0),
    wasm_on_header_field: (_: number, at: number, length: number) => (listener.name(at, length), 0),
    wasm_on_header_value: (_: number, at: number, length: number) => (listener.value(at, length), 0),
    wasm_on_headers_complete: () => listener.headEnd(),
    wasm_on_body: (_: number, at: number, length: number) => (listener.body(at, length), 0),
    wasm_on_message_complete: () => listener.messageEnd(),
  };
  const exports = new WebAssembly.Instance(loadProgram(), { env }).exports as unknown as LlhttpExports;
  exports["_initialize"]();
  let memory = Buffer.from(exports.memory.buffer);
  const current = () => {
    // After memory grows, its previous buffer is empty.
    if (memory.buffer !== exports.memory.buffer) memory = Buffer.from(exports.memory.buffer);
    return memory;
  };
  const reason = (parser: number) => {
    const at = exports.llhttp_get_error_reason(parser);
    return at === 0 ? "it is malformed" : current().toString("latin1", at, current().indexOf(0, at));
  };
  return { exports, memory: current, reason };
}

function loadProgram(): object {
  // Some machines have no SIMD in WebAssembly. The plain build behaves the same, more slowly.
  return new WebAssembly.Module(WebAssembly.validate(simdProgram) ? simdProgram : plainProgram);
}
