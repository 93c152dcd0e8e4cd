import { Fault } from "../fault.ts";
import { type HttpReply, parseReply } from "../http-client.ts";
import { realmTrust } from "./trusted-hosts.ts";

/** A name and password for a registry. */
export type RegistryLogin = { username: string; password: string };

export function basicAuthorization(login: RegistryLogin): string {
  return `Basic ${basicCredentials(login)}`;
}

/** Name and password as HTTP and Docker write them. */
export function basicCredentials({ username, password }: RegistryLogin): string {
  return Buffer.from(`${username}:${password}`).toString("base64");
}

/** Undefined for another scheme. */
export function parseBasic(authorization: string | undefined): RegistryLogin | undefined {
  const [, username, password] = /^([^:]*):(.*)$/s.exec(Buffer.from(/^Basic (.+)$/.exec(authorization ?? "")?.[1] ?? "", "base64").toString()) ?? [];
  return username === undefined || password === undefined ? undefined : { username, password };
}

/** The login in the settings. Faults: SETTINGS_INVALID. */
export function parseLogin({ username, password }: { username: string | undefined; password: string | undefined }): RegistryLogin | undefined {
  if (username === undefined && password === undefined) return undefined;
  if (username === undefined || password === undefined || username.includes(":")) {
    throw new Fault("SETTINGS_INVALID", "REGISTRY_USERNAME and REGISTRY_PASSWORD belong together, and the name holds no colon.");
  }
  return { username, password };
}

/** The challenge of a 401 from a registry. Undefined if it sends none. */
export function challengeIn(head: { header(name: string): string | undefined }): string | undefined {
  return head.header("www-authenticate");
}

/** One challenge of a `WWW-Authenticate` header; `scheme` and the names of parameters are in lower case. */
type AuthChallenge = { scheme: string; parameters: ReadonlyMap<string, string> };

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
/** A parameter: name=token or name="quoted"; RFC 9110, section 11.2. */
const PARAMETER = new RegExp(`[ \\t,]*(${TOKEN})[ \\t]*=[ \\t]*(?:"((?:[^"\\\\]|\\\\.)*)"|(${TOKEN}))`, "y");
const SCHEME = new RegExp(`[ \\t,]*(${TOKEN})(?=[ \\t,]|$)(?![ \\t]*=)`, "y");
const LONGEST = 8_192;

/** All challenges, also of several headers joined by commas. A syntax error ends the list. */
export function parseChallenges(header: string | undefined): AuthChallenge[] {
  if (header === undefined || header.length > LONGEST) return [];
  const challenges: AuthChallenge[] = [];
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
    challenges.push({ scheme: scheme.toLowerCase(), parameters });
  }
  return challenges;
}

/** Where a registry sends its clients for tokens, and for which service. https://distribution.github.io/distribution/spec/auth/token/ */
export type RegistryTokenServer = { realm: URL; service: string | undefined };

/** The token server in a challenge; `realm` is null if it is not a URL. Undefined if the registry uses no tokens. */
export function tokenServerIn(
  challenge: string | undefined,
): { realm: URL | null; service: string | undefined; scope: string | undefined } | undefined {
  const bearer = parseChallenges(challenge).find(({ scheme }) => scheme === "bearer");
  if (bearer === undefined) return undefined;
  const { parameters } = bearer;
  return { realm: URL.parse(parameters.get("realm") ?? ""), service: parameters.get("service"), scope: parameters.get("scope") };
}

export function tokenUrl({ realm, service }: RegistryTokenServer, scopes: readonly string[], parameters: Record<string, string> = {}): URL {
  const url = new URL(realm);
  url.hash = "";
  if (service !== undefined) url.searchParams.set("service", service);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  for (const scope of scopes) url.searchParams.append("scope", scope);
  return url;
}

/** The reply of a token server; undefined if it is not JSON. */
export function tokenReplyIn(reply: HttpReply): { token: unknown; expiresIn: unknown } | undefined {
  const body = parseReply(reply.text()) as { token?: unknown; access_token?: unknown; expires_in?: unknown } | null | undefined;
  return body === undefined ? undefined : { token: body?.token ?? body?.access_token, expiresIn: body?.expires_in };
}

type TokenResult =
  | { kind: "token"; authorization: string }
  /** The registry does not sign in with tokens. */
  | { kind: "none" }
  /** Its token server is not in its own domain: nothing was sent there. */
  | { kind: "untrusted"; realm: URL | null }
  | { kind: "refused"; status: number };

/**
 * Requests a token from the token server in the registry's challenge. The token goes to the registry, so the server has to be in the registry's own
 * domain: else a registry could read replies from inside berth's network.
 */
export async function buyToken(
  challenge: string | undefined,
  at: {
    registry: URL;
    login: RegistryLogin | undefined;
    /** Which token servers are sent the login. */
    loginFor: "same host" | "same domain";
    /** Replaces the challenge's own. */
    scope?: string;
    parameters?: Record<string, string>;
    send(url: URL, headers: Record<string, string | undefined>): Promise<HttpReply>;
  },
): Promise<TokenResult> {
  const server = tokenServerIn(challenge);
  if (server === undefined) return { kind: "none" };
  const { realm, service, scope } = server;
  const { registry, login, loginFor, send, parameters } = at;
  const hostname = registry.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  if (realm === null || realmTrust(realm, { hostname, secure: registry.protocol === "https:" }) !== "credentials")
    return { kind: "untrusted", realm };
  const mayHaveLogin = loginFor === "same domain" || realm.host === registry.host;
  const requested = at.scope ?? scope;
  const reply = await send(tokenUrl({ realm, service }, requested === undefined ? [] : [requested], parameters), {
    accept: "application/json",
    authorization: login && mayHaveLogin ? basicAuthorization(login) : undefined,
  });
  if (reply.status !== 200) return { kind: "refused", status: reply.status };
  const token = tokenReplyIn(reply)?.token;
  return typeof token === "string" ? { kind: "token", authorization: `Bearer ${token}` } : { kind: "refused", status: reply.status };
}
