import type { IncomingMessage } from "node:http";
import { Fault } from "../../lib/fault.ts";
import { parseChallenges } from "../../lib/registry-client/challenge.ts";
import { realmTrust } from "../../lib/registry-client/trusted-realm.ts";

/** One question to wherever it is. */
export type Send = (url: string, method: string, headers: Record<string, string>) => Promise<{ answer: IncomingMessage; text: string }>;

/**
 * A token from where the registry's `WWW-Authenticate` says; undefined where it says none, or somewhere that may not have the key: it goes to the registry's own
 * host or domain alone. Faults: DEV_KEY_INVALID, those of `send`.
 */
export async function buyToken(
  header: string | undefined,
  { origin, key, send }: { origin: URL; key: string; send: Send },
): Promise<string | undefined> {
  const bearer = parseChallenges(header).find(({ scheme }) => scheme === "bearer");
  const realm = URL.parse(bearer?.parameters.get("realm") ?? "");
  const registry = { hostname: origin.hostname.replace(/^\[|\]$/g, ""), secure: origin.protocol === "https:" };
  if (!bearer || !realm || realmTrust(realm, registry) !== "credentials") return undefined;
  realm.searchParams.set("account", "any");
  for (const name of ["service", "scope"]) {
    const value = bearer.parameters.get(name);
    if (value) realm.searchParams.set(name, value);
  }
  const { answer, text } = await send(realm.href, "GET", { authorization: `Basic ${Buffer.from(`any:${key}`).toString("base64")}` });
  if (answer.statusCode === 401) throw new Fault("DEV_KEY_INVALID", `The registry ${origin.host} does not know this developer key.`);
  const said = readToken(text);
  return typeof said === "string" ? said : undefined;
}

function readToken(text: string): unknown {
  try {
    const { token, access_token: other } = JSON.parse(text) as { token?: unknown; access_token?: unknown };
    return token ?? other;
  } catch {
    return undefined;
  }
}
