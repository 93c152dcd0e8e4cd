/** Classes of ASCII characters, as bits. A character may belong to several. */
export const CLASS = {
  digit: 1,
  lowerHex: 2,
  upperHex: 4,
  /** `A-Z a-z 0-9 _ -`: base64url. */
  base64url: 8,
  /** And `. ~`: the characters of session tokens of any version. */
  token: 16,
  /** And `. : + / = @`: the characters of usual request ids. */
  requestId: 32,
  /** `!` to `~`. */
  visible: 64,
} as const;

const CLASSES = new Uint8Array(128);

function add(bits: number, characters: string): void {
  for (const character of characters) CLASSES[character.charCodeAt(0)] = (CLASSES[character.charCodeAt(0)] ?? 0) | bits;
}

const DIGITS = "0123456789";
const LETTERS = "abcdefghijklmnopqrstuvwxyz";
add(CLASS.digit | CLASS.lowerHex | CLASS.upperHex, DIGITS);
add(CLASS.lowerHex, "abcdef");
add(CLASS.upperHex, "ABCDEF");
add(CLASS.base64url | CLASS.token | CLASS.requestId, `${DIGITS}${LETTERS}${LETTERS.toUpperCase()}_-`);
add(CLASS.token, ".~");
add(CLASS.requestId, ".:+/=@");
for (let code = 33; code < 127; code++) add(CLASS.visible, String.fromCharCode(code));

/** The classes of a character code; none beyond ASCII. */
export function classesOf(code: number): number {
  return code < 128 ? (CLASSES[code] ?? 0) : 0;
}

/** All characters of `text` from `start` to `end` belong to one of `classes`. A regular expression would cost several times as much. */
export function consistsOf(text: string, classes: number, start = 0, end = text.length): boolean {
  for (let at = start; at < end; at++) if ((classesOf(text.charCodeAt(at)) & classes) === 0) return false;
  return true;
}

/** The text can be the value of a header field: no control character but tabs, and nothing beyond latin1 (RFC 9110 §5.5). */
export function isFieldValue(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if ((code < 32 && code !== 9) || code === 127 || code > 255) return false;
  }
  return true;
}

/** `text` contains `part` (lower case) in any case of ASCII letters. */
export function includesIgnoringCase(text: string, part: string): boolean {
  const last = text.length - part.length;
  for (let at = 0; at <= last; at++) {
    let matched = 0;
    while (matched < part.length && lowerCase(text.charCodeAt(at + matched)) === part.charCodeAt(matched)) matched++;
    if (matched === part.length) return true;
  }
  return false;
}

/** `text` has `prefix` (lower case) at `at`, in any case of ASCII letters. */
export function startsIgnoringCase(text: string, prefix: string, at = 0): boolean {
  if (text.length - at < prefix.length) return false;
  for (let index = 0; index < prefix.length; index++) if (lowerCase(text.charCodeAt(at + index)) !== prefix.charCodeAt(index)) return false;
  return true;
}

function lowerCase(code: number): number {
  return code >= 65 && code <= 90 ? code | 32 : code;
}

/** `text` without the `characters` at its end, in one pass: `/x+$/` starts again at each x, which takes quadratic time on many of them. */
export function trimTrailing(text: string, characters: string): string {
  let end = text.length;
  while (end > 0 && characters.includes(text[end - 1] ?? "")) end--;
  return text.slice(0, end);
}
