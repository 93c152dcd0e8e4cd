import { isTextAt } from "./byte-tables.ts";

/** The methods of llhttp, without those of other protocols and without CONNECT, which would open a tunnel. */
const METHODS: ReadonlySet<string> = new Set(
  (
    "GET HEAD POST PUT DELETE OPTIONS PATCH TRACE QUERY SEARCH LINK UNLINK PURGE COPY LOCK UNLOCK MOVE MKCOL PROPFIND PROPPATCH " +
    "BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE MKCALENDAR"
  ).split(" "),
);

export function isMethod(text: string): boolean {
  return METHODS.has(text);
}

/** A well-formed method that is not supported. */
export function isUnknownMethod(method: string): boolean {
  return TOKEN.test(method) && !METHODS.has(method);
}

const TOKEN = /^[!#$%&'*+\-.^_`|~\dA-Za-z]+$/;

/** By the first byte. */
const BY_FIRST: readonly (readonly string[])[] = Array.from({ length: 256 }, (_, byte) => [...METHODS].filter((name) => name.charCodeAt(0) === byte));
const GET = "GET";

/** The method at `at` if it is one of these and a space follows. `memory` has 12 bytes from there. */
export function methodAt(memory: Uint8Array, at: number): string | undefined {
  // Most requests.
  if (memory[at] === 71 && memory[at + 1] === 69 && memory[at + 2] === 84 && memory[at + 3] === 32) return GET;
  for (const name of BY_FIRST[memory[at] as number] as readonly string[])
    if (memory[at + name.length] === 32 && isTextAt(memory, at, name)) return name;
  return undefined;
}
