/** Encodings in each other that are looked through; nothing that a router takes has more than one. */
const MOST_DECODED = 8;
// eslint-disable-next-line no-control-regex -- control characters are what is removed
const INVISIBLE = /[\u0000-\u001f\u007f\u00ad\u200b-\u200f\u2060\ufeff]/g;
/** Older clients put a developer key behind these words of a path. */
const KEY_FOLLOWS = /login|(?<![a-z0-9])dev(?![a-z0-9])|packages[^a-z0-9]*dev/i;
/** In a path that a container reads, these may be its own words; one soon after the other is berth's. */
const KEY_FOLLOWS_IN_CONTAINER = /login.{0,100}?dev/is;
/** Keys and tokens that berth makes: base64url of 24 or 32 bytes. */
const KEY_LIKE = /(?<![\w-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{24,}/g;

const WORD = "[\\w.~-]+";
/** What a publish that succeeded was sent to: then what stands there is the package's name, which is no secret. */
const PUBLISHED = new RegExp(`^/api/packages/dev/(?:(?:@|%40)${WORD}/)?${WORD}$`, "i");
const PUBLISHED_WITH_KEY = new RegExp(`^(/api/packages/dev/)${WORD}(/(?:(?:@|%40)?${WORD}/)?${WORD})$`, "i");
const SIGN_IN = "/api/users/login/dev";

type MaskedFor = {
  /** A container was found, and reads the path. */
  container: boolean;
  /** It was a publish, which succeeded. */
  published: boolean;
};

/**
 * A request's path, or target, without any developer key, however it is spelled: what follows a word that a key may follow is left out, and so is what looks
 * like a key. The words are found behind any percent-encoding, in any case.
 */
export function maskedPath(target: string, { container, published }: MaskedFor = { container: false, published: false }): string {
  if (container && !target.includes("%") && !/login/i.test(target)) return target;
  const path = withoutUserinfo(target);
  if (published && PUBLISHED.test(path)) return path;
  if (published && PUBLISHED_WITH_KEY.test(path)) return path.replace(PUBLISHED_WITH_KEY, "$1***$2");
  if (path === SIGN_IN) return path;
  const plain = decoded(path);
  const match = (container ? KEY_FOLLOWS_IN_CONTAINER : KEY_FOLLOWS).exec(plain);
  const end = match === null ? plain.length : match.index + match[0].length;
  const shown = plain.slice(0, end).replace(KEY_LIKE, container ? "$&" : "***");
  if (end < plain.length) return `${shown}/***`;
  // As it came, where there is nothing to hide.
  return shown === plain ? path : shown;
}

/** `http://user:password@host/path`, and what is no path at all. */
function withoutUserinfo(target: string): string {
  if (target.startsWith("/")) return target;
  const scheme = target.indexOf("://");
  const from = scheme < 0 ? 0 : scheme + 3;
  const slash = target.indexOf("/", from);
  const authority = target.slice(from, slash < 0 ? undefined : slash);
  return target.slice(0, from) + target.slice(from + authority.lastIndexOf("@") + 1);
}

/** As a reader that decodes it once, or twice, may read it. */
function decoded(path: string): string {
  let text = path;
  for (let round = 0; round < MOST_DECODED && /%[0-9a-f]{2}/i.test(text); round++)
    text = Buffer.from(
      text.replace(/%([0-9a-f]{2})/gi, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16))),
      "latin1",
    ).toString("utf8");
  return text.normalize("NFKC").replace(INVISIBLE, "");
}
