/**
 * Tables of what a byte may be: a look-up costs a third of a regular expression. 1: the byte is in the class. Classes of RFC 9110 §5.6.2, RFC 9112 §3 and
 * RFC 3986.
 */
function byteTable(matches: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (matches.test(String.fromCharCode(byte)) ? 1 : 0));
}

/** A byte of a method or of a header's name. */
export const TOKEN = byteTable(/[!#$%&'*+\-.^_`|~\dA-Za-z]/);
/** A byte that a forwarded value may have: no control byte but the tab. */
export const FIELD = byteTable(/[\t\x20-\x7e\x80-\xff]/);
/** A byte of a target that berth writes. */
export const TARGET = byteTable(/[\x21-\x7e]/);
/** A name's byte that no two servers read differently: many read `x_user` as `x-user`. */
export const PLAIN_TOKEN = byteTable(/[!#$%&'*+\-.^`|~\dA-Za-z]/);
/** A byte of a target that RFC 3986 allows without its being encoded, of a path and a query, and those that browsers leave as they are. */
export const PLAIN_TARGET = byteTable(/[\w\-.~%!$&'()*+,;=:@/?[\]|{}"^`\\]/);
/** A byte of a host's name or IPv4 address. */
export const PLAIN_HOST = byteTable(/[\w\-.]/);

export const CR = 13;
export const LF = 10;
export const SPACE = 32;
export const COLON = 58;
export const SLASH = 47;
export const ZERO = 48;

/** `memory` has `name` (lower case) at `at`, in any case. */
export function isNameAt(memory: Uint8Array, at: number, name: string): boolean {
  for (let index = 0; index < name.length; index++) {
    const byte = memory[at + index] as number;
    if ((byte >= 65 && byte <= 90 ? byte | 32 : byte) !== name.charCodeAt(index)) return false;
  }
  return true;
}

/** `memory` has exactly `text` at `at`. */
export function isTextAt(memory: Uint8Array, at: number, text: string): boolean {
  for (let index = 0; index < text.length; index++) if (memory[at + index] !== text.charCodeAt(index)) return false;
  return true;
}
