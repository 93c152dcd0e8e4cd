import plain from "undici/lib/llhttp/llhttp-wasm.js";
import simd from "undici/lib/llhttp/llhttp_simd-wasm.js";
import t from "tap";
import constants from "undici/lib/llhttp/constants.js";
import { CODE, KIND } from "../../../gateway/http1/head-parser.ts";

/** What gateway/http1 uses of the two builds in undici, which are no part of what undici promises. */
const EXPORTS = [
  "_initialize",
  "llhttp_alloc",
  "llhttp_execute",
  "llhttp_free",
  "llhttp_get_error_pos",
  "llhttp_get_error_reason",
  "llhttp_reset",
  "malloc",
  "memory",
];
const IMPORTS = [
  "wasm_on_body",
  "wasm_on_header_field",
  "wasm_on_header_value",
  "wasm_on_headers_complete",
  "wasm_on_message_begin",
  "wasm_on_message_complete",
  "wasm_on_status",
  "wasm_on_url",
];

for (const [name, program] of Object.entries({ simd, plain })) {
  t.test(`the build of llhttp (${name}) is where it was and has what is used of it`, async (t) => {
    const module = new WebAssembly.Module(program);
    const exports = WebAssembly.Module.exports(module).map(({ name }) => name);
    t.same(
      EXPORTS.filter((name) => !exports.includes(name)),
      [],
    );
    t.same(
      WebAssembly.Module.imports(module)
        .map(({ name }) => name)
        .toSorted(),
      IMPORTS,
      "it asks for nothing else",
    );
  });
}

t.test("its numbers mean what they did", async (t) => {
  const { ERROR, TYPE } = constants;
  t.same(CODE, {
    ok: ERROR["OK"],
    invalidMethod: ERROR["INVALID_METHOD"],
    invalidConstant: ERROR["INVALID_CONSTANT"],
    invalidVersion: ERROR["INVALID_VERSION"],
    paused: ERROR["PAUSED"],
  });
  t.same(KIND, { request: TYPE["REQUEST"], response: TYPE["RESPONSE"] });
});
