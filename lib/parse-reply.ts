/** Strings, objects and arrays in one reply: JSON.parse takes some 30 ms for so many, and the lists of real servers have some thousand. */
export const MOST_REPLY_VALUES = 80_000;

/** The JSON in another server's reply; undefined where it is none, or holds so much that parsing it would keep other requests waiting. */
export function parseReply(text: string, most = MOST_REPLY_VALUES): unknown {
  if (hasMoreValues(text, most)) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Counts without parsing: 4 MiB take a few ms. */
function hasMoreValues(text: string, most: number): boolean {
  // Fewer bytes cannot hold more.
  if (text.length <= most) return false;
  let values = 0;
  let isInString = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === BACKSLASH) at++;
    else if (code === QUOTE) {
      isInString = !isInString;
      if (isInString) values++;
    } else if (!isInString && (code === BRACE || code === BRACKET)) values++;
    if (values > most) return true;
  }
  return false;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const BRACE = 0x7b;
const BRACKET = 0x5b;
