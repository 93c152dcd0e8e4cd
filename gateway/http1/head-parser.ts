import { MessageRefused } from "./header-lines.ts";
import { isForeign, refusedVersion } from "./message-heads.ts";
import plainProgram from "undici/lib/llhttp/llhttp-wasm.js";
import simdProgram from "undici/lib/llhttp/llhttp_simd-wasm.js";

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

/** What this uses of llhttp's WebAssembly build; a pointer is an offset in its memory. */
export type LlhttpExports = {
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

/** What a run tells of; positions are offsets in the memory. A result other than 0 ends the run with that code. */
export type Heard = {
  target(at: number, length: number): void;
  name(at: number, length: number): void;
  value(at: number, length: number): void;
  headEnd(): number;
  body(at: number, length: number): void;
  messageEnd(): number;
};

export const KIND = { request: 1, response: 2 } as const;

/** llhttp's own numbers (undici/lib/llhttp/constants.js). */
export const CODE = { ok: 0, invalidMethod: 6, invalidConstant: 8, invalidVersion: 9, paused: 21 } as const;

export type Llhttp = {
  exports: LlhttpExports;
  /** The memory, to write into; another object after anything was allocated. */
  memory(): Buffer;
  /** Why the last run of this parser failed, in llhttp's words. */
  reason(parser: number): string;
};

/** Starts llhttp's own program. Nothing of its leniency is ever switched on. */
export function openLlhttp(heard: Heard): Llhttp {
  const nothing = () => 0;
  const env = {
    wasm_on_message_begin: nothing,
    wasm_on_status: nothing,
    wasm_on_url: (_: number, at: number, length: number) => (heard.target(at, length), 0),
    wasm_on_header_field: (_: number, at: number, length: number) => (heard.name(at, length), 0),
    wasm_on_header_value: (_: number, at: number, length: number) => (heard.value(at, length), 0),
    wasm_on_headers_complete: () => heard.headEnd(),
    wasm_on_body: (_: number, at: number, length: number) => (heard.body(at, length), 0),
    wasm_on_message_complete: () => heard.messageEnd(),
  };
  const exports = new WebAssembly.Instance(programFor(), { env }).exports as unknown as LlhttpExports;
  exports["_initialize"]();
  let memory = Buffer.from(exports.memory.buffer);
  const current = () => {
    // Memory that has grown is another object; what was made of the old one is empty then.
    if (memory.buffer !== exports.memory.buffer) memory = Buffer.from(exports.memory.buffer);
    return memory;
  };
  const reason = (parser: number) => {
    const at = exports.llhttp_get_error_reason(parser);
    return at === 0 ? "it is malformed" : current().toString("latin1", at, current().indexOf(0, at));
  };
  return { exports, memory: current, reason };
}

function programFor(): object {
  // Some machines have no SIMD in their WebAssembly; the other build reads the same, more slowly.
  return new WebAssembly.Module(WebAssembly.validate(simdProgram) ? simdProgram : plainProgram);
}
