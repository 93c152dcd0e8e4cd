import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import { openHttpClient } from "../../lib/http-client.ts";
import { Agent, type AgentOptions } from "node:http";
import { connect, type Socket } from "node:net";
import type { HeaderLine, TlsPeer, ForwardTarget } from "../decision.ts";
import { GATEWAY_TOKEN_HEADER } from "../contract.ts";
import { CertificateDiffers, openSecured } from "../connections/dial.ts";

export type ControlClient = {
  /**
   * Posts JSON to control and answers with what came back; undefined for an empty answer. Faults: what control refused with;
   * CONTROL_AWAY where it cannot be reached, broke off, or lets this gateway in no more; CONTROL_BUSY where it took too long although it is there: the request may be repeated.
   * An abort rejects with the signal's reason.
   */
  post(path: string, body: unknown, signal: AbortSignal): Promise<unknown>;
  close(): void;
};

/** Control only has to look into its own memory or write one row. */
const ASK_TIMEOUT_MS = 5_000;
/** Of one that is thought to be away, an answer at once is a welcome surprise; behind a network that swallows everything there is none at all. */
const ASK_AWAY_MS = 500;
const MAX_BYTES = 1_048_576;
/** Wakes have connections of their own: with hundreds of them waiting for control's disk, no token waits behind them. Few, since control writes one after the other in any case. */
const CONNECTIONS = { wakes: 4, others: 16 };

/** `refused` is called where control lets this gateway in no more; `isAway` says whether it is thought to be away. */
export function openControlClient(parts: { link: ControlLink; refused?: () => void; isAway?: () => boolean; clock: Clock }): ControlClient {
  const { link, refused, isAway = () => false, clock } = parts;
  const openClient = (connections: number) =>
    openHttpClient({
      clock,
      maxBytes: MAX_BYTES,
      timeoutMs: ASK_TIMEOUT_MS,
      connections,
      connect: link.connect,
      toFault: ({ cause }) => controlAway("cannot be reached", cause),
    });
  const [wakes, others] = [openClient(CONNECTIONS.wakes), openClient(CONNECTIONS.others)];
  const refusal = (said: unknown, status: number): Fault => {
    if (!isFaultData(said)) return controlAway(`answered ${status}`);
    if (said.code !== "GATEWAY_REFUSED") return Fault.from(said);
    // Callers have nothing to do with that.
    refused?.();
    return controlAway("does not let this gateway in");
  };

  return {
    close: () => {
      wakes.close();
      others.close();
    },
    post: async (path, body, signal) => {
      const client = path === "/wake" ? wakes : others;
      const isLate = isAway();
      const { status, text } = await client.request({
        method: "POST",
        url: `http://localhost${path}`,
        headers: { ...link.headers(), "content-type": "application/json" },
        body: JSON.stringify(body),
        signal,
        timeoutMs: isLate ? ASK_AWAY_MS : ASK_TIMEOUT_MS,
        toFault: ({ kind, cause }) => {
          if (kind !== "overdue") return controlAway(kind === "unreachable" ? "cannot be reached" : "broke off", cause);
          return isLate ? controlAway("did not answer in time") : controlBusy(`did not answer within ${ASK_TIMEOUT_MS / 1_000} s`);
        },
      });
      const value = valueIn(text());
      if (status >= 300) throw refusal(value, status);
      return value;
    },
  };
}

function valueIn(text: string): unknown {
  try {
    return text === "" ? undefined : JSON.parse(text);
  } catch (cause) {
    throw controlAway("answered what is no JSON", cause);
  }
}

export function controlAway(why: string, cause?: unknown): Fault {
  return new Fault("CONTROL_AWAY", `The control plane ${why}; it should be back in a moment`, { cause, retryAfterMs: 1_000 });
}

/** Control is there, and has too much to do to answer now. */
export function controlBusy(why: string): Fault {
  return new Fault("CONTROL_BUSY", `The control plane ${why}; it has too much to do at the moment`, { retryAfterMs: 1_000 });
}

export function isFaultData(value: unknown): value is FaultData {
  return typeof value === "object" && value !== null && "code" in value && typeof value.code === "string" && "message" in value;
}

/** How a gateway reaches control: what differs between this machine's Unix sockets and a network. */
export type ControlLink = {
  /** For people, in logs. */
  name: string;
  /** Begins a connection; how that goes, its own events tell. */
  connect(): Socket;
  /** What every question and the feed itself are asked with. */
  headers(): Record<string, string>;
  api: ControlApi;
};

/** Where the API is, and the header line with which a client's request is let in there; none where whoever reaches it is. */
export type ControlApi = { target: ForwardTarget; admits?: () => HeaderLine };

/** The control plane of this machine: its sockets are for this user only. */
export function controlHere(sockets: { feedSocket: string; apiSocket: string }): ControlLink {
  return {
    name: "this machine",
    connect: () => connect(sockets.feedSocket),
    headers: () => ({}),
    api: { target: { socketPath: sockets.apiSocket } },
  };
}

/** The network is to notice within this time that the other end is gone, where nothing else does. */
const PROBE_MS = 10_000;

/**
 * A control plane elsewhere, at its entrance for gateways (`control/api/gateway-listener.ts`). `token` is asked anew for each request, since it may
 * be another one by then. `secured` is left out where something below TCP does the encrypting.
 */
export function controlElsewhere(at: { host: string; port: number; secured: TlsPeer | undefined; token(): string }): ControlLink {
  const { host, port, secured, token } = at;
  const options = { host, port, keepAliveInitialDelay: PROBE_MS };
  return {
    name: `${host}:${port}`,
    connect: () => (secured === undefined ? connect({ ...options, noDelay: true, keepAlive: true }) : openSecured(options, secured)),
    headers: () => ({ [GATEWAY_TOKEN_HEADER]: `feed ${token()}` }),
    api: {
      target: secured === undefined ? { host, port } : { host, port, tls: secured },
      admits: () => [GATEWAY_TOKEN_HEADER, `api ${token()}`],
    },
  };
}

/** Node's pool of connections over such a link. */
export function agentOf(link: ControlLink, options: AgentOptions): Agent {
  const agent = new Agent(options);
  agent.createConnection = () => link.connect();
  return agent;
}

/** What Node says where a certificate is not the right one, or was not signed by anybody that is trusted. */
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

/** The fault where a connection failed because the other end is not the control plane that was meant; undefined for every other failure. */
export function distrust(error: Error, link: ControlLink): Fault | undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (!(error instanceof CertificateDiffers) && !UNTRUSTED.has(code ?? "")) return undefined;
  const why = error instanceof CertificateDiffers ? "its fingerprint is another one than BERTH_CONTROL_FINGERPRINT" : code;
  return new Fault("CONTROL_UNTRUSTED", `The certificate of the control plane at ${link.name} is not trusted: ${why}.`, { cause: error });
}
