import type { Fault } from "../lib/fault.ts";
import type { ExchangeLabels } from "./access-record.ts";

/** The head of a request as it was received, neither decoded nor normalized. */
export type Head = {
  method: string;
  /** The request target byte for byte, with its query. */
  target: string;
  /** The client requests `Upgrade: websocket`. */
  upgrade: boolean;
  /** The value of a header by its lower-case name; repeated ones joined with `, `. */
  header(name: string): string | undefined;
  /** The same as bytes, so that no string need be created. Absent: the head has no bytes. */
  readonly spans?: HeadSpans;
};

/** Bytes of a head. */
export type ByteSpan = { bytes: Uint8Array; start: number; end: number };

/** Each result is valid until the next call, and not longer than the head: it may be the same object each time. */
export type HeadSpans = {
  /** At least one line has this name (lower case). */
  hasHeader(name: string): boolean;
  /** The value of the only line with this name (lower case), without spaces around it. Undefined: there is none, or more than one. */
  headerSpan(name: string): ByteSpan | undefined;
  targetSpan(): ByteSpan;
};

export type ClientPeer = {
  /** The address of the other end of the connection. */
  address: string;
};

/** A header line as it is written. A name may repeat. */
export type HeaderLine = readonly [name: string, value: string];

/** Valid header lines that exist as bytes, so that they are copied instead of being written and checked for each request. */
export type WrittenLines = {
  /** In bytes. */
  readonly size: number;
  /** Writes them to `out`, which has `size` bytes left at `at`. Returns the offset after them. */
  put(out: Uint8Array, at: number): number;
  lines(): readonly HeaderLine[];
};

/**
 * Lines to remove, by lower-case name, then lines to append. `written`: lines to append to a request after those. `removeCookies`: cookies of a response
 * whose `Set-Cookie` lines are removed as well.
 */
export type HeaderEdits = {
  remove: readonly string[];
  add: readonly HeaderLine[];
  written?: readonly WrittenLines[];
  removeCookies?: readonly string[];
};

/** A response that berth creates itself. */
export type DirectResponse = {
  status: number;
  reason: string;
  headers: readonly HeaderLine[];
  body: string;
  /** Closes the connection after it, with `Connection: close`. */
  close?: true;
};

/** A container's address, the Unix socket of the control plane's API, or a TLS server. `h2c`: it speaks HTTP/2 without TLS. */
export type ForwardTarget = { host: string; port: number; tls?: TlsPeer; h2c?: true } | { socketPath: string };

/**
 * `servername` must match the certificate; empty if the address must. `ca`: the trusted authorities as PEM, instead of Node's own. `fingerprint`: the
 * SHA-256 of the only accepted certificate in hexadecimal, whatever its issuer and names.
 */
export type TlsPeer = { servername: string; ca?: string | undefined; fingerprint?: string | undefined };

/** Targets with the same key may share connections. */
export function keyOfTarget(target: ForwardTarget): string {
  if ("socketPath" in target) return target.socketPath;
  const address = `${target.host}:${target.port}${target.h2c === true ? " h2c" : ""}`;
  return target.tls === undefined ? address : `${address} ${target.tls.servername}`;
}

/** The two ends of an exchange. */
export type ExchangeSide = "client" | "container";

/** The client of one exchange, which may leave while its lease waits. `signal` aborts then. */
type WaitingLeaseClient = { readonly signal: AbortSignal };

/** The claim of one exchange on its target, from the decision until its last byte. */
export type Lease = {
  /** The owner of the connections: a connection of another owner is never used, even at the same address. */
  readonly owner: string;
  /** A small number that hardly another owner has: with it, connections are found without a look-up. Absent: by `owner`. */
  readonly ownerNumber?: number;
  /**
   * The target at once if it is known, else after the container has started. Rejects with the `Fault` for the client, or with the signal's
   * reason. Never throws.
   */
  target(client?: WaitingLeaseClient): ForwardTarget | Promise<ForwardTarget>;
  /** The target refused the connection, and no byte was sent. Resolves to a target to try once more, or rejects with the `Fault`. */
  replaceTarget(target: ForwardTarget, client?: WaitingLeaseClient): Promise<ForwardTarget>;
  /**
   * The connection to `lost` ended before a response, and repeating the request changes nothing. Resolves to the target to send it to next, or rejects
   * with the `Fault`. Absent: the failure is the response.
   */
  targetAfterLoss?(lost: ForwardTarget, client?: WaitingLeaseClient): Promise<ForwardTarget>;
  /**
   * Calls `act` when the target no longer belongs to the container, at once if it does not belong already, until the returned function is
   * called. Connections cannot tell: an unused address never refuses one, and another container at this address accepts it.
   */
  onTargetGone(target: ForwardTarget, act: () => void): () => void;
  /** Counts `n` bytes from one side to the other: the body of a request, all of a response. */
  countBytes(n: number, from: ExchangeSide): void;
  /** Sets the holder, in place of the previous one. Absent if the lease is never revoked. */
  setHolder?(holder: LeaseHolder): void;
  /** No other target will be requested. A WebSocket may stay open for days: what only a wait needs is released. */
  settle?(): void;
  /** The exchange is over. May be repeated. */
  release(): void;
};

export type LeaseHolder = {
  /** The caller's session or right was revoked: ends the exchange, with the fault as response if that is still possible. */
  revoke(fault: Fault): void;
  /** The container is about to stop: ends the exchange if its protocol can give the client the reason. Absent: it goes on, and the stop waits for it a while. */
  onContainerStop?(reason: string): void;
  /** Another server took the place of the lease's target, whose connection may stay open: ends the exchange, or repeats it. Absent: it is revoked. */
  onTargetReplaced?(): void;
};

/** The head of a response as it was received. */
export type ResponseHeadView = {
  status: number;
  /** The value of a header by its lower-case name; repeated ones joined with `, `. */
  header(name: string): string | undefined;
  /** In lower case. */
  names(): readonly string[];
};

/** How a request is forwarded. */
export type Forward = {
  /** The request target to send, byte for byte. */
  target: string;
  /** How long the response head may take after the whole request was sent, in milliseconds. */
  headTimeoutMs: number;
  /** Edits of the request's headers, beyond hop-by-hop ones. */
  request: HeaderEdits;
  /** Edits of informational (1xx) responses; none if absent. */
  interim?: HeaderEdits;
  /** Edits of the response; called with its head. `connectMs`: the duration of the connect, 0 for a reused connection. */
  response(received: ResponseHeadView, connectMs: number): HeaderEdits;
  /** The response to a failure, in the form that the client expects. */
  respondTo(fault: Fault): DirectResponse;
};

/** What every engine executes. */
export type PlainForward = Forward & { intercept?: never };

/** What only the splice engine executes. */
export type InterceptingForward = Forward & {
  /**
   * Called with the head of a response. Returns what replaces it, such as a second request with a new credential; undefined passes the response
   * on. After a byte of the request's body was sent (`bodySent`), only a direct response can replace it.
   */
  intercept?(received: ResponseHeadView, bodySent: boolean): Interception | Promise<Interception> | undefined;
};

export type Interception = { forward: InterceptingForward; lease: Lease } | { answer: DirectResponse };

/** What to do with a request. `decide` creates it from a head, a peer and a signal, never from a socket; an engine executes it. */
export type Decision<Forwarded extends Forward = PlainForward> = {
  /** For logs, metrics and traces. */
  labels?: ExchangeLabels;
} & (
  | { kind: "answer"; answer: DirectResponse }
  | { kind: "forward"; forward: Forwarded; lease: Lease }
  /** Responds 101 at once, sends `CONNECTED` when the container has accepted, then splices. `user`: whose queue budget its frames use while it waits. */
  | { kind: "acceptWebSocket"; forward: Forwarded; lease: Lease; user: string }
  /** Accepts, then closes with a code and a reason: a WebSocket client can show its user nothing else. */
  | { kind: "refuseWebSocket"; code: number; reason: string }
);

export type IncomingRequest = {
  head: Head;
  peer: ClientPeer;
  tls: boolean;
  /** Aborts when the client is gone. Engines create it on first access, so that requests that never wait do not pay for it. */
  readonly signal: AbortSignal;
};

/** Decides at once if everything is cached, and then never throws. Else rejects only after `signal` has aborted. */
export type Decide<Forwarded extends Forward = PlainForward> = (request: IncomingRequest) => Decision<Forwarded> | Promise<Decision<Forwarded>>;

/** A lease of a server that does not move: after a refused connection, the same target is tried once more. */
export function fixedLease(target: ForwardTarget | Promise<ForwardTarget>): Lease {
  return {
    owner: "",
    target: () => target,
    replaceTarget: (refused) => Promise.resolve(refused),
    onTargetGone: () => () => undefined,
    countBytes: () => undefined,
    release: () => undefined,
  };
}
