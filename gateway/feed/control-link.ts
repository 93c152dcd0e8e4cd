import { Agent, type AgentOptions } from "node:http";
import { connect, type Socket } from "node:net";
import { Fault } from "../../lib/fault.ts";
import type { HeaderLine, TlsPeer, ForwardTarget } from "../decision.ts";
import { GATEWAY_TOKEN_HEADER } from "../contract.ts";
import { CertificateDiffers, openSecured } from "../connections/dial.ts";

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
