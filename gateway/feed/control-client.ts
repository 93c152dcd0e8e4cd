import { connect, type Socket } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import { openHttpClient } from "../../lib/http-client.ts";
import { CertificateDiffers, openSecured } from "../connections/dial.ts";
import { GATEWAY_TOKEN_HEADER } from "../contract.ts";
import type { ForwardTarget, HeaderLine, TlsPeer } from "../decision.ts";

/** How a gateway reaches control: over Unix sockets of this machine, or over a network. */
export type ControlLink = {
  /** For users, in logs. */
  name: string;
  /** Begins a connection. Its events report the result. */
  connect(): Socket;
  /** The headers of each request, and of the feed. */
  headers(): Record<string, string>;
  /** Begins a connection to the API. Requests on it have the header line of `api.admits`. */
  connectToApi(): Socket;
  api: ControlApi;
  /** Present if there may be several control processes. */
  group?: ControlGroup;
};

/** Several control processes, one of which leads. A link with a group is to one of them at a time. */
export type ControlGroup = {
  /** The link to that one, as long as the group does not move on. */
  current(): ControlLink;
  /** How many are known, by their addresses. */
  size(): number;
  /** Several are configured, or the last leader has an epoch, or the settings say so: one may lead soon, so requests wait for it. */
  canFailOver(): boolean;
  /** Moves the link to `leader` (`host:port`) if that is one of them, else to the next one. True: each was tried since the last connect. */
  moveOn(leader?: string): boolean;
  /** The link is to a control process that leads, with this epoch, if it has one. */
  connected(epoch: number | undefined): void;
  /** `why`: a clause. `isReported`: a control process reports why none leads, which counts more than a failed connection to another one. */
  disconnected(why: string, isReported?: boolean): void;
  /** Resolves when the link is to a leader. Faults: CONTROL_NO_LEADER after `ms`. An abort rejects with the signal's reason. */
  leader(ms: number, signal?: AbortSignal): Promise<void>;
};

/**
 * Where the API is. `admits`: the header line that authorizes a client's request there, if it needs one. `leader`: the same target, after it leads; it
 * rejects with CONTROL_NO_LEADER, or when the client leaves with its signal's reason. `lost`: the target that refused the last connection, or ended it.
 * `canFailOver`: whether another target may lead. `watchLeader`: calls `act` each time another leader is connected, and not for another address of the same one, until the returned function is called.
 */
export type ControlApi = {
  target: ForwardTarget;
  admits?: () => HeaderLine | undefined;
  leader?: (lost?: ForwardTarget, client?: { readonly signal: AbortSignal }) => ForwardTarget | Promise<ForwardTarget>;
  canFailOver?: () => boolean;
  watchLeader?: (act: (leader: ForwardTarget) => void) => () => void;
};

/** The control plane of this machine. Only this user can open its sockets. */
export function localControl(sockets: { feedSocket: string; apiSocket: string }): ControlLink {
  return {
    name: "this machine",
    connect: () => connect(sockets.feedSocket),
    headers: () => ({}),
    connectToApi: () => connect(sockets.apiSocket),
    api: { target: { socketPath: sockets.apiSocket } },
  };
}

/** The system notices within this time that the other end vanished. */
const PROBE_MS = 10_000;

/**
 * A control plane on another machine, at its listener for gateways (`control/api/control-listener.ts`). `token` is read for each request, because it
 * can change. `secured` is undefined if a layer below TCP encrypts.
 */
export function remoteControl(at: { host: string; port: number; secured: TlsPeer | undefined; token(): string }): ControlLink {
  const { host, port, secured, token } = at;
  const options = { host, port, keepAliveInitialDelay: PROBE_MS };
  const open = () => (secured === undefined ? connect({ ...options, noDelay: true, keepAlive: true }) : openSecured(options, secured));
  return {
    name: `${host}:${port}`,
    connect: open,
    connectToApi: open,
    headers: () => ({ [GATEWAY_TOKEN_HEADER]: `feed ${token()}` }),
    api: {
      target: secured === undefined ? { host, port } : { host, port, tls: secured },
      admits: () => [GATEWAY_TOKEN_HEADER, `api ${token()}`],
    },
  };
}

/** Node's codes for a certificate that is not valid, or that no trusted authority signed. */
const UNTRUSTED: ReadonlySet<string> = new Set([
  "CERT_HAS_EXPIRED",
  "CERT_NOT_YET_VALID",
  "CERT_UNTRUSTED",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/** The fault of a connection that failed because the other end is not the configured control plane. Undefined for every other failure. */
export function untrustedFault(error: unknown, link: ControlLink): Fault | undefined {
  const { code = "" } = (error ?? {}) as NodeJS.ErrnoException;
  if (!(error instanceof CertificateDiffers) && !UNTRUSTED.has(code)) return undefined;
  const why = error instanceof CertificateDiffers ? "its fingerprint is another one than BERTH_CONTROL_FINGERPRINT" : code;
  return new Fault("CONTROL_UNTRUSTED", `The certificate of the control plane at ${link.name} is not trusted: ${why}.`, { cause: error });
}

type ControlClient = {
  /**
   * Posts JSON to control: a value, or its bytes. Resolves with the reply, undefined if that is empty. Faults: those of the reply; CONTROL_AWAY if control cannot be reached,
   * breaks the connection, or refuses this gateway; CONTROL_BUSY if it is connected and took too long: the request may be repeated. An abort
   * rejects with the signal's reason. `timeoutMs`: for what takes control longer than a row.
   */
  post(path: string, body: unknown, signal: AbortSignal, timeoutMs?: number): Promise<unknown>;
  close(): void;
};

/** Control only reads its own memory or writes one row. */
const TIMEOUT_MS = 5_000;
/** While control seems to be away. A network that drops packets gives no answer at all. */
const AWAY_TIMEOUT_MS = 500;
const MAX_BYTES = 1_048_576;
/**
 * Wakes have connections of their own: with hundreds of them waiting for control's disk, no token waits behind them. A few are enough, because control
 * writes one after the other.
 */
const CONNECTIONS = { wakes: 4, others: 16 };

/** Calls `refused` when control refuses this gateway. `isAway`: control seems to be away. */
export function openControlClient(deps: { link: ControlLink; refused?: () => void; isAway?: () => boolean; clock: Clock }): ControlClient {
  const { link, refused, isAway = () => false, clock } = deps;
  const openClients = (to: ControlLink) => {
    const open = (connections: number) =>
      openHttpClient({
        clock,
        maxBytes: MAX_BYTES,
        timeoutMs: TIMEOUT_MS,
        connections,
        connect: to.connect,
        toFault: ({ cause }) => controlAway("cannot be reached", cause),
      });
    return { to, wakes: open(CONNECTIONS.wakes), others: open(CONNECTIONS.others) };
  };
  const close = () => {
    clients.wakes.close();
    clients.others.close();
  };
  let clients = openClients(link.group?.current() ?? link);
  /** Connections that are kept belong to one control process. */
  const currentClients = () => {
    const to = link.group?.current() ?? link;
    if (clients.to === to) return clients;
    close();
    clients = openClients(to);
    return clients;
  };
  const refusal = (body: unknown, status: number): Fault => {
    if (!isFaultData(body)) return controlAway(`answered ${status}`);
    if (body.code !== "GATEWAY_REFUSED") return Fault.from(body);
    // Callers cannot repair that.
    refused?.();
    return controlAway("refuses this gateway");
  };

  return {
    close,
    post: async (path, body, signal, timeoutMs = TIMEOUT_MS) => {
      const { wakes, others } = currentClients();
      const client = path === "/wake" ? wakes : others;
      const wasAway = isAway();
      const { status, text } = await client.request({
        method: "POST",
        url: `http://localhost${path}`,
        headers: { ...link.headers(), "content-type": "application/json" },
        body: body instanceof Uint8Array ? body : JSON.stringify(body),
        signal,
        timeoutMs: wasAway ? AWAY_TIMEOUT_MS : timeoutMs,
        toFault: ({ kind, cause }) => {
          if (kind !== "overdue") return controlAway(kind === "unreachable" ? "cannot be reached" : "broke off", cause);
          return wasAway ? controlAway("did not answer in time") : controlBusy(`did not answer within ${timeoutMs / 1_000} s`);
        },
      });
      const value = parseControlReply(text());
      if (status >= 300) throw refusal(value, status);
      return value;
    },
  };
}

function parseControlReply(text: string): unknown {
  try {
    return text === "" ? undefined : JSON.parse(text);
  } catch (cause) {
    throw controlAway("sent a reply that is not JSON", cause);
  }
}

export function controlAway(why: string, cause?: unknown): Fault {
  return new Fault("CONTROL_AWAY", `The control plane ${why}; it should be back in a moment`, { cause, retryAfterMs: 1_000 });
}

/** Of several control processes none leads, or the leader cannot be reached. `why`: a clause. */
export function noLeader(why: string, cause?: unknown): Fault {
  return new Fault("CONTROL_NO_LEADER", `No control process leads at the moment (${why}); one should within seconds`, { cause, retryAfterMs: 1_000 });
}

/** Control is connected, and has too much to do. */
export function controlBusy(why: string): Fault {
  return new Fault("CONTROL_BUSY", `The control plane ${why}; it has too much to do at the moment`, { retryAfterMs: 1_000 });
}

export function isFaultData(value: unknown): value is FaultData {
  return typeof value === "object" && value !== null && "code" in value && typeof value.code === "string" && "message" in value;
}
