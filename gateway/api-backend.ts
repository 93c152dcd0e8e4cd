import { isIP } from "node:net";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import { permittedOrigin } from "../lib/browser-requests.ts";
import { CONTROL_HOST, controlKeys, datagrokKeys, type KeyServer } from "../lib/jwks/signers.ts";
import { trimTrailing } from "../lib/character-classes.ts";
import {
  type ClientPeer,
  type Decision,
  fixedLease,
  type ForwardTarget,
  type Head,
  type HeaderEdits,
  type HeaderLine,
  type IncomingRequest,
  keyOfTarget,
  type Lease,
  type LeaseHolder,
  type PlainForward,
} from "./decision.ts";
import { CLIENT_ADDRESS_HEADER, CONSOLE_HEADER, FAILS_OVER_HEADER, GATEWAY_TOKEN_HEADER, UNTRUSTED_PROXY_HEADER } from "./contract.ts";
import { withoutConsoleCookies } from "./containers/credentials.ts";
import { readable } from "./containers/origins.ts";
import { apiErrorResponse } from "./direct-responses.ts";
import type { ControlApi, ControlLink } from "./feed/control-client.ts";
import { NOT_LEADING, requestLeader } from "./feed/control-group.ts";
import type { ForwardedEdits } from "./forwarded-headers.ts";
import { type CredentialEdits, REMOVED_CREDENTIALS } from "./caller-edits.ts";
import type { TrustedProxies } from "./trusted-proxies.ts";

/** The server that receives every request that is not for a container. */
type ApiBackend = {
  /** A lease for one exchange. */
  openLease(): Lease;
  /** The request target at this server, from the target at the edge. */
  pathOf(target: string): string;
  /** Header edits beyond those for every target. */
  edits(head: Head, peer: ClientPeer): HeaderEdits;
  /** Translates a container's fault to this server's. */
  faultOf(fault: Fault): Fault;
};

/** A Datagrok server behind berth. */
export type DatagrokServer = {
  /** Its API, with `/api`. */
  url: string;
  /** Forwards the client's Host instead of the server's own. */
  keepHost: boolean;
};

const RETRY_MS = 1_000;
const LOST = "The control process was lost before it responded: it may have carried out the request, so check that before you send it again";
/** How long a token with an unknown key waits for a leader, which may know it. */
const KEYS_WAIT_MS = 15_000;
/** Headers that only the gateway may set for the API. */
const OWN_HEADERS = [CLIENT_ADDRESS_HEADER, CONSOLE_HEADER, UNTRUSTED_PROXY_HEADER, FAILS_OVER_HEADER, GATEWAY_TOKEN_HEADER];

/** The control plane's API. `sendsAgain`: the engine sends a request that may be repeated to the next leader (`targetAfterLoss`). */
export function controlBackend(api: ControlApi, trusted: TrustedProxies, sendsAgain: boolean): ApiBackend {
  const { admits } = api;
  /** Waits for the leader among several control processes. */
  const leader = api.leader ?? (() => api.target);
  const away = (why: string) => new Fault("CONTROL_AWAY", why, { retryAfterMs: RETRY_MS });
  const refuses = () => away("The control plane accepts no connections at the moment; try again in a moment");
  const { leader: nextLeader, watchLeader } = api;
  const lease: Lease = {
    ...fixedLease(api.target),
    target: (client) => leader(undefined, client),
    replaceTarget: (refused, client) => (nextLeader === undefined ? Promise.reject(refuses()) : Promise.resolve(nextLeader(refused, client))),
    ...(nextLeader === undefined ? {} : { targetAfterLoss: async (lost, client) => nextLeader(lost, client) }),
  };
  return {
    openLease: watchLeader === undefined ? () => lease : createLeaderLeases(lease, watchLeader, () => away(LOST)),
    pathOf: (target) => target,
    edits: (head, peer) => {
      const forwarded = head.header("x-forwarded-for");
      const add: HeaderLine[] = [[CLIENT_ADDRESS_HEADER, trusted.clientOf(forwarded, peer.address)]];
      if (forwarded !== undefined && !trusted.trusts(peer.address)) add.push([UNTRUSTED_PROXY_HEADER, peer.address]);
      if (sendsAgain && api.canFailOver?.()) add.push([FAILS_OVER_HEADER, "1"]);
      const admission = admits?.();
      if (admission !== undefined) add.push(admission);
      return { remove: OWN_HEADERS, add };
    },
    faultOf: (fault) => {
      if (fault.code === "CONTAINER_BROKE_OFF") return away(LOST);
      return fault.status === 502 ? refuses() : fault;
    },
  };
}

export function datagrokBackend({ url, keepHost }: DatagrokServer): ApiBackend {
  const { protocol, hostname, port, host, pathname } = new URL(url);
  const bare = hostname.replace(/^\[|\]$/g, "");
  const secure = protocol === "https:";
  const address = { host: bare, port: Number(port) || (secure ? 443 : 80) };
  const base = trimTrailing(pathname, "/").replace(/\/api$/, "");
  const edits: HeaderEdits = keepHost ? { remove: [], add: [] } : { remove: ["host"], add: [["Host", host]] };
  const lease = fixedLease(secure ? { ...address, tls: { servername: isIP(bare) === 0 ? bare : "" } } : address);
  return {
    openLease: () => lease,
    // `*` means the whole server (RFC 9112 §3.2.4), so it gets no path.
    pathOf: (target) => (target.startsWith("/") ? base + target : target),
    edits: () => edits,
    faultOf: (fault) => {
      const { cause } = fault;
      const why = codeOf(cause);
      if (fault.code === "CONTAINER_UNREACHABLE")
        return new Fault("DATAGROK_AWAY", `The Datagrok server cannot be reached (${why})`, { cause, retryAfterMs: RETRY_MS });
      if (fault.status === 502)
        return new Fault("DATAGROK_BROKE_OFF", `The Datagrok server closed the connection before it responded (${why})`, { cause });
      if (fault.code === "RESPONSE_TIMED_OUT") return new Fault("RESPONSE_TIMED_OUT", "The Datagrok server did not respond in time", { cause });
      return fault;
    },
  };
}

/**
 * Leases of exchanges with the leader. They are over when another one leads: a machine that is lost and a process that stands still end no connection, and
 * nothing that a deposed leader still does is stored.
 */
function createLeaderLeases(common: Lease, watchLeader: NonNullable<ControlApi["watchLeader"]>, lost: () => Fault): () => Lease {
  const open = new Set<(leader: string) => void>();
  watchLeader((leader) => {
    for (const endElsewhere of open) endElsewhere(keyOfTarget(leader));
  });
  return () => {
    let holder: LeaseHolder | undefined;
    let at: ForwardTarget | undefined;
    const noteTarget = (target: ForwardTarget) => (at = target);
    const endElsewhere = (leader: string) => {
      if (at === undefined || keyOfTarget(at) === leader) return;
      if (holder?.onTargetReplaced) holder.onTargetReplaced();
      else holder?.revoke(lost());
    };
    const { targetAfterLoss } = common;
    return {
      ...common,
      target: (client) => {
        const target = common.target(client);
        return target instanceof Promise ? target.then(noteTarget) : noteTarget(target);
      },
      replaceTarget: (refused, client) => {
        at = undefined;
        return common.replaceTarget(refused, client).then(noteTarget);
      },
      ...(targetAfterLoss && {
        targetAfterLoss: (before: ForwardTarget, client?: { readonly signal: AbortSignal }) => {
          at = undefined;
          return targetAfterLoss(before, client).then(noteTarget);
        },
      }),
      onTargetGone: (target, act) => watchLeader((leader) => keyOfTarget(leader) !== keyOfTarget(target) && act()),
      setHolder: (next) => {
        holder = next;
        open.add(endElsewhere);
      },
      release: () => {
        holder = undefined;
        open.delete(endElsewhere);
      },
    };
  };
}

/** The code of the error or of the nearest cause that has one. */
function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "no reason given";
  if ("code" in error && typeof error.code === "string") return error.code;
  return codeOf(error.cause);
}

type ForwardToApiDeps = { backend: ApiBackend; edits: ForwardedEdits; apiTimeoutMs: number; origins: readonly string[] };

const NO_EDITS: HeaderEdits = { remove: [], add: [] };
const TO_CONSOLE: HeaderLine = [CONSOLE_HEADER, "1"];

/** Forwards a request to the API, which authenticates it. `target` is in origin form. `toConsole`: it came under the console's host name. */
export function forwardToApi(
  { backend, edits, apiTimeoutMs, origins }: ForwardToApiDeps,
  { head, peer, tls }: IncomingRequest,
  target: string,
  toConsole = false,
): Decision {
  const { remove, add, written, ids, traced } = edits(head, peer, tls, toConsole ? undefined : consoleCookieEdits(head));
  const more = backend.edits(head, peer);
  const origin = permittedOrigin(head.header("origin"), origins);
  const forward: PlainForward = {
    target: backend.pathOf(target),
    headTimeoutMs: apiTimeoutMs,
    request: { remove: [...remove, ...more.remove], add: [...add, ...more.add, ...(toConsole ? [TO_CONSOLE] : [])], written },
    response: () => NO_EDITS,
    respondTo: (fault) => readable(origin, apiErrorResponse(backend.faultOf(fault))),
  };
  return { kind: "forward", forward, lease: backend.openLease(), labels: { route: "api", ids, traced } };
}

/** Removes the cookies of berth's consoles, which no server behind may receive. */
function consoleCookieEdits(head: Head): CredentialEdits | undefined {
  const cookie = head.header("cookie");
  const kept = cookie === undefined ? undefined : withoutConsoleCookies(cookie);
  if (cookie === undefined || kept === undefined || kept === cookie) return undefined;
  return { removed: REMOVED_CREDENTIALS.cookie, add: kept === "" ? [] : [["Cookie", kept]] };
}

/** The server that issues registry tokens, and publishes the keys that verify them. */
export type IdentityServer = KeyServer & {
  /** Receives requests for tokens. Their paths begin with `/api`. */
  backend: ApiBackend;
};

/** The proxy's address as clients see it. A server that derives its issuer from them would name another one than in its own metadata. */
const CLIENT_VIEW_HEADERS = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded"];

/** The keys of control's tokens. They wait for the leader among several control processes. */
export function controlKeyServer(link: Pick<ControlLink, "api" | "connectToApi" | "group">, clock: Clock): KeyServer {
  const headers = () => {
    const admission = link.api.admits?.();
    return admission === undefined ? {} : { [admission[0]]: admission[1] };
  };
  const server = controlKeys({ connect: link.connectToApi, headers }, clock);
  const wait = { longestMs: KEYS_WAIT_MS, isFailover: ({ code }: Fault) => code === "TOKEN_KEYS_UNKNOWN" || NOT_LEADING.has(code) };
  return { ...server, get: (path) => requestLeader({ group: link.group, clock }, wait, () => server.get(path)) };
}

/** Control, which makes the tokens. */
export function controlIdentity(link: ControlLink, trusted: TrustedProxies, clock: Clock): IdentityServer {
  const backend = controlBackend(link.api, trusted, true);
  const edits = (head: Head, peer: ClientPeer): HeaderEdits => {
    const { remove, add } = backend.edits(head, peer);
    return { remove: [...remove, ...CLIENT_VIEW_HEADERS, "x-forwarded-for", "x-real-ip", "host"], add: [...add, ["Host", CONTROL_HOST]] };
  };
  return { ...controlKeyServer(link, clock), backend: { ...backend, edits } };
}

/** `url` is the server's API, with `/api`. */
export function datagrokIdentity(url: string, clock: Clock): IdentityServer {
  const backend = datagrokBackend({ url, keepHost: false });
  const edits = (head: Head, peer: ClientPeer): HeaderEdits => {
    const { remove, add } = backend.edits(head, peer);
    return { remove: [...remove, ...CLIENT_VIEW_HEADERS], add };
  };
  return { ...datagrokKeys(url, clock), backend: { ...backend, edits } };
}
