// The builds of llhttp inside undici are no part of its types; test/gateway/http1/head-parser.test.ts notices when they move.
declare module "undici/lib/llhttp/llhttp_simd-wasm.js" {
  const program: Buffer<ArrayBuffer>;
  export default program;
}

declare module "undici/lib/llhttp/llhttp-wasm.js" {
  const program: Buffer<ArrayBuffer>;
  export default program;
}

/** The little of WebAssembly that is used here: its types are a part of the browser's library only. */
declare namespace WebAssembly {
  type Memory = { readonly buffer: ArrayBuffer };
  const Module: { new (program: Buffer): object; exports(module: object): { name: string }[]; imports(module: object): { name: string }[] };
  const Instance: new (module: object, imports: Record<string, Record<string, (...values: number[]) => number>>) => { readonly exports: object };
  function validate(program: Buffer): boolean;
}
