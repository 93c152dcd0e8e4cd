import type { Fault } from "../lib/fault.ts";
import type { ExchangeLabels } from "./access-record.ts";

/** The head of a request, as it came: no decoding, no collapsing. */
export type Head = {
  method: string;
  /** The request target byte for byte, query included. */
  target: string;
  /** True where the client asks for `Upgrade: websocket`. */
  upgrade: boolean;
  /** The value of a header by its lower-case name; repeated ones joined with `, `. */
  header(name: string): string | undefined;
};

export type ClientPeer = {
  /** The address of the other end of the connection. */
  address: string;
};

/** Header lines as they are written: name and value, in order; a name may repeat. */
export type HeaderLine = readonly [name: string, value: string];

/** Lines to drop (lower-case names), then lines to add at the end. `removeCookies`: of a response, the cookies whose `Set-Cookie` lines are dropped as well. */
export type HeaderEdits = { remove: readonly string[]; add: readonly HeaderLine[]; removeCookies?: readonly string[] };

/** An answer that the system makes by itself. */
export type DirectResponse = {
  status: number;
  reason: string;
  headers: readonly HeaderLine[];
  body: string;
  /** The connection ends with it, and says so. */
  close?: true;
};

/** Where bytes go: a container's address, the Unix socket of the control plane's API, or a server that speaks TLS under this name. */
export type ForwardTarget = { host: string; port: number; tls?: TlsPeer } | { socketPath: string };

/**
 * `servername` is what the server's certificate must be for; empty where its address is. `ca`: who may have signed it, as PEM, in place of those that
 * Node trusts. `fingerprint`: the certificate itself, by its SHA-256 in hexadecimal, whoever signed it and whatever it is for.
 */
export type TlsPeer = { servername: string; ca?: string | undefined; fingerprint?: string | undefined };

/** Equal for targets that a connection may serve alike. */
export function keyOfTarget(target: ForwardTarget): string {
  if ("socketPath" in target) return target.socketPath;
  const address = `${target.host}:${target.port}`;
  return target.tls === undefined ? address : `${address} ${target.tls.servername}`;
}

/** The two ends of an exchange. */
export type ExchangeSide = "client" | "container";

/** The claim of one exchange on its target, from the decision until its last byte. */
export type Lease = {
  /** Whose connections these are: one that was made for another owner is never used, even where the address is the same. */
  readonly owner: string;
  /**
   * Where to send it: at once where that is known, else once the container is awake. Rejects with the `Fault` to answer, or with the
   * signal's reason; never throws.
   */
  target(): ForwardTarget | Promise<ForwardTarget>;
  /** The target refused the connection before any byte was sent: asks once for a better one, or rejects with the `Fault`. */
  replaceTarget(target: ForwardTarget): Promise<ForwardTarget>;
  /**
   * Calls `act` once the target is no longer the container's, at once where that is so already, until the returned function is called: an address that
   * without an owner refuses no connection, it only never accepts one, and one that another container was given accepts it.
   */
  onTargetGone(target: ForwardTarget, act: () => void): () => void;
  /** `n` bytes came from one side and go to the other: of a request its body, of an answer all that comes. */
  countBytes(n: number, from: ExchangeSide): void;
  /** Sets the listener, in place of the one before, for the event that the exchange must end. Left out where that never happens. */
  setHolder?(holder: LeaseHolder): void;
  /** The exchange is over. May be repeated. */
  release(): void;
};

export type LeaseHolder = {
  /** The caller's session was revoked, or the right to the container: ends the exchange, with the reason where that is still possible. */
  revoke(fault: Fault): void;
};

/** The head of a response, as it came. */
export type ResponseHeadView = {
  status: number;
  /** The value of a header by its lower-case name; repeated ones joined with `, `. */
  header(name: string): string | undefined;
  /** In lower case. */
  names(): readonly string[];
};

export type Forward = {
  /** The request target to send, byte for byte. */
  target: string;
  /** How long the response head may take after the request body was sent, in milliseconds. */
  headTimeoutMs: number;
  /** What is changed in the request's header lines, beyond what is hop-by-hop. */
  request: HeaderEdits;
  /** What is changed in those of informational (1xx) responses; nothing where it is left out. */
  interim?: HeaderEdits;
  /** What is changed in the response's; asked when its head has come. `connectMs`: how long the connect took, 0 where there was none. */
  response(received: ResponseHeadView, connectMs: number): HeaderEdits;
  /**
   * Asked when the head of a response came: what to do instead of passing it on, such as asking once more with a fresh credential, or elsewhere.
   * Once any byte of the request's body was sent (`bodySent`), only another answer can take its place. Undefined: this answer is the one. The
   * socket engine asks; the other does not.
   */
  intercept?(received: ResponseHeadView, bodySent: boolean): Interception | Promise<Interception> | undefined;
  /** Turns a failure of this exchange into the answer that its caller understands. */
  respondTo(fault: Fault): DirectResponse;
};

export type Interception = { forward: Forward; lease: Lease } | { answer: DirectResponse };

/**
 * What is to be done with a request. `decide` makes it from a head, a peer and a signal, never from a socket; an engine
 * executes it. `acceptWebSocket`: answer 101 at once, then say `CONNECTED` when the container has accepted, then splice.
 */
export type Decision = {
  /** For those who watch. */
  labels?: ExchangeLabels;
} & (
  | { kind: "answer"; answer: DirectResponse }
  | { kind: "forward"; forward: Forward; lease: Lease }
  /** `user`: whose part of the queues its frames take while it waits. */
  | { kind: "acceptWebSocket"; forward: Forward; lease: Lease; user: string }
  /** Accept, then close at once with a code and a reason: what a WebSocket client can show its user. */
  | { kind: "refuseWebSocket"; code: number; reason: string }
);

export type IncomingRequest = {
  head: Head;
  peer: ClientPeer;
  tls: boolean;
  /** Aborts when the client is gone. Read only where something has to be waited for, so that it may be made only then. */
  readonly signal: AbortSignal;
};

/** Decides at once where all that it takes is known, as for most requests; never throws then, and rejects only once `signal` has aborted. */
export type Decide = (asked: IncomingRequest) => Decision | Promise<Decision>;
