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

/** A cookie's value without quotes and percent-encoding, where it has them. */
export function unquotedCookie(value: string): string {
  const bare = value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
  try {
    return decodeURIComponent(bare);
  } catch {
    return bare;
  }
}
