/** One way of signing in that a `WWW-Authenticate` header offers; `scheme` and the names of parameters are in lower case. */
export type AuthChallenge = { scheme: string; parameters: ReadonlyMap<string, string> };

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
/** A parameter: name=token or name="quoted"; RFC 9110, section 11.2. */
const PARAMETER = new RegExp(`[ \\t,]*(${TOKEN})[ \\t]*=[ \\t]*(?:"((?:[^"\\\\]|\\\\.)*)"|(${TOKEN}))`, "y");
const SCHEME = new RegExp(`[ \\t,]*(${TOKEN})(?=[ \\t,]|$)(?![ \\t]*=)`, "y");
const LONGEST = 8_192;

/** Several challenges, also of several headers joined by commas; what cannot be read ends the list. */
export function parseChallenges(header: string | undefined): AuthChallenge[] {
  if (header === undefined || header.length > LONGEST) return [];
  const found: AuthChallenge[] = [];
  for (let at = 0; at < header.length;) {
    SCHEME.lastIndex = at;
    const scheme = SCHEME.exec(header)?.[1];
    if (scheme === undefined) break;
    at = SCHEME.lastIndex;
    const parameters = new Map<string, string>();
    for (;;) {
      PARAMETER.lastIndex = at;
      const parameter = PARAMETER.exec(header);
      if (!parameter) break;
      const [, name = "", quoted, plain = ""] = parameter;
      parameters.set(name.toLowerCase(), quoted === undefined ? plain : quoted.replace(/\\(.)/g, "$1"));
      at = PARAMETER.lastIndex;
    }
    found.push({ scheme: scheme.toLowerCase(), parameters });
  }
  return found;
}
