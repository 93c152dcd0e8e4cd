import type { FaultData } from "../fault.ts";
import type { Caller } from "./identity.ts";

/** Where bytes go: a container's address, the Unix socket of the control plane's API, or a server that speaks TLS under this name. */
export type Target = { host: string; port: number; tls?: Secured } | { socketPath: string };

/**
 * `servername` is what the server's certificate must be for; empty where its address is. `ca`: who may have signed it, as PEM, in place of those that
 * Node trusts. `fingerprint`: the certificate itself, by its SHA-256 in hexadecimal, whoever signed it and whatever it is for.
 */
export type Secured = { servername: string; ca?: string | undefined; fingerprint?: string | undefined };

/** Where a container takes connections, as reachable from gateways. */
export type ContainerAddress = { host: string; port: number };

/** Equal for targets that a connection may serve alike. */
export function keyOfTarget(target: Target): string {
  if ("socketPath" in target) return target.socketPath;
  const address = `${target.host}:${target.port}`;
  return target.tls === undefined ? address : `${address} ${target.tls.servername}`;
}

/** How long each part of the last start took, in milliseconds; shown to the caller as `Server-Timing`. */
export type StartTimes = { queue: number; pull?: number; create: number; boot: number };

/**
 * What a gateway may do with a container right now. Control derives it from the container's state, so that the gateway
 * needs to know no state at all.
 */
export type Standing =
  /** It accepts connections at each of these addresses, which are its own and no other container's: forward to one of them. Never empty. */
  | { kind: "awake"; addresses: readonly ContainerAddress[] }
  /** It runs but exposes no port: 400. */
  | { kind: "portless" }
  /**
   * It will be awake without another wake: hold. `step`: it waits for its image and its turn, or starts, or it runs and its address is verified,
   * since it may be another container's by now.
   */
  | { kind: "coming"; step?: "queue" | "start" | "check" }
  /** It sleeps and a request wakes it: wake, then hold. */
  | { kind: "asleep" }
  /** It is stopped and only a user may start it: 400. */
  | { kind: "stopped"; fault: FaultData }
  /** Its last start failed: answer `fault`. From `retryAt` (epoch ms) on, where `wakeable`, a request tries again. */
  | { kind: "failed"; fault: FaultData; wakeable: boolean; retryAt: number };

export type ContainerView = {
  id: string;
  name: string;
  standing: Standing;
  /** Of the last start that succeeded. */
  start?: StartTimes;
};

/** What the open requests of one gateway process do to one container. */
export type Use = {
  id: string;
  /** HTTP requests under way through this gateway: while any is, the container is in use. */
  open: number;
  /** Exchanges that reached it and are open, WebSockets too: what a graceful stop waits for. Who is held is not among them. */
  streams: number;
  /** When bytes last went either way, epoch ms. */
  lastActive: number;
  /** For whoever reports it: told of, and not reported yet. */
  changed?: boolean;
};

export const EXCHANGE_KINDS = ["http", "websocket"] as const;
export const EXCHANGE_STATES = ["held", "streaming"] as const;

/** One request or socket that a container has open, for people who ask. Never a path: what stands in its query is the caller's own. */
export type OpenExchange = {
  kind: (typeof EXCHANGE_KINDS)[number];
  /** Of the caller. */
  login: string;
  /** Epoch ms. */
  since: number;
  /** Towards the container, and from it. */
  bytesIn: number;
  bytesOut: number;
  /** Held while it waits for the container. */
  state: (typeof EXCHANGE_STATES)[number];
};

/** `count` is of all, of which `open` lists the oldest. */
export type OpenNow = { count: number; open: OpenExchange[] };

/**
 * The first seam: what a gateway asks about containers. The everyday form is the control plane's feed over a socket
 * (`gateway/feed/open-feed.ts`); an existing Datagrok server may be asked instead (`gateway/datagrok/`); tests may hand in one that lives in the same process.
 */
export type Directory = {
  /** The container, where it is known without asking; undefined says nothing. */
  known(id: string, caller: Caller): ContainerView | undefined;
  /**
   * Undefined where no such container exists. Answers from what the gateway knows, also while control is away.
   * Faults: CONTROL_AWAY, DATAGROK_AWAY where nothing was ever known; NOT_PERMITTED where the caller may not see it.
   */
  find(id: string, caller: Caller, signal: AbortSignal): Promise<ContainerView | undefined>;
  /** Calls `onChange` with each new view of the container, undefined once it is gone, until the returned function is called. */
  watch(id: string, onChange: (view: ContainerView | undefined) => void): () => void;
  /**
   * Wishes the container awake, as a part of that trace; resolves once the wish is durable, or has come true. May be repeated. The outcome arrives by `watch`. It has
   * a time limit of its own. Faults: CONTROL_AWAY, DATAGROK_AWAY, and the cause where the container may not be woken; NOT_PERMITTED and
   * TOKEN_INVALID where this caller may not wake it.
   */
  wake(id: string, caller: Caller, signal: AbortSignal, traceparent?: string): Promise<void>;
  /** The first request that waited for this start has reached the container; `connectMs`: how long the connect took. Nobody waits for it to be heard. */
  reached(id: string, connectMs: number): void;
  /** A container has said in an answer that it is busy for so many seconds. Nobody waits for it to be heard. */
  busy(id: string, seconds: number): void;
  /** Who is asked what this gateway has open at a container, whenever somebody wants to know. */
  onAsk(answer: (id: string) => OpenNow): void;
  /** Says how the container is used; cheap, and reported in batches. Of one container always the same object may come, which changes on. */
  used(use: Use): void;
  close(): Promise<void>;
};
