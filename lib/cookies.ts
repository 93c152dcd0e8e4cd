/**
 * The cookies of a `Cookie` header, each with the value that `of` gives it; undefined takes the cookie out. What keeps its value stays byte for byte, and so does
 * what is no pair.
 */
export function mapCookies(header: string, of: (name: string, value: string) => string | undefined): string {
  const kept: string[] = [];
  for (const pair of header.split(";")) {
    const equals = pair.indexOf("=");
    if (equals === -1) {
      kept.push(pair);
      continue;
    }
    const value = pair.slice(equals + 1).trimEnd();
    const now = of(pair.slice(0, equals).trim(), value);
    if (now === value) kept.push(pair);
    else if (now !== undefined) kept.push(`${pair.slice(0, equals + 1)}${now}`);
  }
  return kept.join(";").trimStart();
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

/** A cookie's value without quotes and percent-encoding, where it has them. */
export function unquotedCookie(value: string): string {
  const bare = value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
  try {
    return decodeURIComponent(bare);
  } catch {
    return bare;
  }
}
