/**
 * The cookies of a `Cookie` header, each with the value that `of` gives it; undefined takes the cookie out. What keeps its value stays byte for byte, and so does
 * what is no pair.
 */
export function mapCookies(header: string, of: (name: string, value: string) => string | undefined): string {
  let changed = "";
  /** The begin of what is not in `changed` yet. */
  let run = 0;
  let equals = header.indexOf("=");
  for (let at = 0; at <= header.length;) {
    const semicolon = header.indexOf(";", at);
    const end = semicolon === -1 ? header.length : semicolon;
    // Searched only after it was passed: else pairs without one would cost a scan of the rest each.
    if (equals !== -1 && equals < at) equals = header.indexOf("=", at);
    if (equals >= at && equals < end) {
      const value = header.slice(equals + 1, end).trimEnd();
      const now = of(header.slice(at, equals).trim(), value);
      if (now === undefined) {
        // With the semicolon after it if nothing is kept before it, else with the one before it.
        changed += header.slice(run, Math.max(run, at - 1));
        run = at === run ? end + 1 : end;
      } else if (now !== value) {
        changed += `${header.slice(run, equals + 1)}${now}`;
        run = end;
      }
    }
    at = end + 1;
  }
  return run === 0 ? header : (changed + header.slice(run)).trimStart();
}

/**
 * Whether a `Set-Cookie` line with this value makes a browser send a cookie of one of these names. A line without a name counts by its value: of
 * `=name=x`, browsers send `name=x`.
 */
export function setsCookie(line: string, names: readonly string[]): boolean {
  const [pair = ""] = line.split(";", 1);
  const named = pair.replace(/^[\t =]+/, "");
  return names.some((name) => named.startsWith(name) && /^[\t ]*(?:=|$)/.test(named.slice(name.length)));
}

/** The most values that are read; a browser has a cookie of one name for each path and domain. */
const MOST_VALUES = 16;

/** The values of the cookies with a name, in order, without quotes and percent-encoding. A generator: a caller that has enough does not read the rest. */
export function* cookieValues(header: string | undefined, name: string): Generator<string, undefined> {
  if (header === undefined) return;
  const begin = `${name}=`;
  for (let at = 0, read = 0; at < header.length && read < MOST_VALUES;) {
    const semicolon = header.indexOf(";", at);
    const end = semicolon === -1 ? header.length : semicolon;
    const pair = header.slice(at, end).trim();
    if (pair.startsWith(begin)) {
      read++;
      yield unquotedCookie(pair.slice(begin.length));
    }
    at = end + 1;
  }
}

/** A cookie's value without quotes and percent-encoding, where it has them. */
export function unquotedCookie(value: string): string {
  // Tokens are neither quoted nor encoded.
  if (!value.includes("%") && !value.startsWith('"')) return value;
  const bare = value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
  try {
    return decodeURIComponent(bare);
  } catch {
    return bare;
  }
}
