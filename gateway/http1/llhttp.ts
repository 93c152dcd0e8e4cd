import plainProgram from "undici/lib/llhttp/llhttp-wasm.js";
import simdProgram from "undici/lib/llhttp/llhttp_simd-wasm.js";

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
