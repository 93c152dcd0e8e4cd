import type { Clock } from "../../lib/clock.ts";
import type { Head, HeaderEdits, ClientPeer } from "../decision.ts";
import { controlBackend, datagrokBackend, type ApiBackend } from "../api-backend.ts";
import { CONTROL_HOST, controlKeys, datagrokKeys, type KeyServer } from "../../lib/jwks/key-server.ts";
import type { TrustedProxies } from "../trusted-proxies.ts";

/** Who makes the tokens, and says how they are verified: control over its private socket, or a Datagrok server. */
export type IdentityServer = KeyServer & {
  /** Where requests for tokens go. Their paths begin with `/api`, as everywhere here. */
  behind: ApiBackend;
};

/** The address at which a client sees the proxy: a server that makes its own out of it would name another issuer than when it is asked who it is. */
const SEEN_BY_CLIENT = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded"];

export function controlIdentity(socketPath: string, trusted: TrustedProxies, clock: Clock): IdentityServer {
  const behind = controlBackend({ target: { socketPath } }, trusted);
  const edits = (head: Head, peer: ClientPeer): HeaderEdits => {
    const { remove, add } = behind.edits(head, peer);
    return { remove: [...remove, ...SEEN_BY_CLIENT, "x-forwarded-for", "x-real-ip", "host"], add: [...add, ["Host", CONTROL_HOST]] };
  };
  return { ...controlKeys(socketPath, clock), behind: { ...behind, edits } };
}

/** `url` is its API, with `/api`. */
export function datagrokIdentity(url: string, clock: Clock): IdentityServer {
  const behind = datagrokBackend({ url, keepHost: false });
  const edits = (head: Head, peer: ClientPeer): HeaderEdits => {
    const { remove, add } = behind.edits(head, peer);
    return { remove: [...remove, ...SEEN_BY_CLIENT], add };
  };
  return { ...datagrokKeys(url, clock), behind: { ...behind, edits } };
}
