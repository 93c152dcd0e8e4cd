import type { Clock } from "../../lib/clock.ts";
import type { Fault } from "../../lib/fault.ts";
import { CLOSE, closeFor, closeFrame, FrameBoundary } from "./frames.ts";
import type { Lease, LeaseHolder } from "../decision.ts";
import type { GatewayLimits } from "../limits.ts";
import { type Draining, lingeringClose } from "../connections/closing.ts";
import type { NetConnection, NetConnectionUser } from "../connections/connection.ts";

/** How many bytes came from the client and the container. */
export type ByteCounts = { bytesIn: number; bytesOut: number };

/** Takes out of what the client sends the rest of an answer to us: undefined while all is of it, then what comes behind it, once. */
export type PongFilter = (chunk: Buffer) => Buffer | undefined;

export type UpgradedPair = {
  client: NetConnection;
  container: NetConnection;
  /** What came from the client, and what from the container, and was not passed on yet: to be kept, even where its link is volatile. */
  early: readonly Buffer[];
  rest: Buffer;
  pongFilter?: PongFilter | undefined;
  lease: Pick<Lease, "countBytes" | "setHolder">;
  record: ByteCounts;
  draining: Draining;
  clock: Clock;
  limits: Pick<GatewayLimits, "lingeringCloseMs">;
};

/**
 * Passes bytes both ways over two connections that have become a WebSocket, until both are closed; resolves then. A frame of our own is
 * put in between two of the container's only, and never after its close: 1012 when the gateway is about to end, 1011 when the
 * container has gone without a word, 1008 when the caller's session was revoked. A WebSocket has no half-open state: once one side has ended, the other is to follow.
 */
export function spliceWebSocket(upgraded: UpgradedPair): Promise<void> {
  return new Promise((resolve) => new WebSocketSplice(upgraded, resolve).begin(upgraded));
}

/** How long a WebSocket whose caller's session was revoked may take to end the container's frame that is under way, so that the client gets the reason. */
const REVOKED_MS = 1_000;

/** Both directions of one WebSocket. What runs for every message makes nothing but what `send` makes. */
class WebSocketSplice implements LeaseHolder {
  readonly client: NetConnection;
  readonly container: NetConnection;
  readonly lease: Pick<Lease, "countBytes" | "setHolder">;
  readonly record: ByteCounts;
  readonly boundary = new FrameBoundary();
  pongFilter: PongFilter | undefined;
  /** With what the client is to be closed as soon as it may be. */
  leaving: { code: number; reason: string } | undefined;
  /** Nothing more of the client's reaches the container. */
  revoked = false;
  #cancelRevoked = () => {};
  readonly #draining: Draining;
  readonly #clock: Clock;
  readonly #lingeringCloseMs: number;
  readonly #resolve: () => void;
  #open = 2;

  constructor(upgraded: UpgradedPair, resolve: () => void) {
    this.client = upgraded.client;
    this.container = upgraded.container;
    this.lease = upgraded.lease;
    this.record = upgraded.record;
    this.pongFilter = upgraded.pongFilter;
    this.#draining = upgraded.draining;
    this.#clock = upgraded.clock;
    this.#lingeringCloseMs = upgraded.limits.lingeringCloseMs;
    this.#resolve = resolve;
  }

  begin({ early, rest, draining }: Pick<UpgradedPair, "early" | "rest" | "draining">): void {
    const { client, container } = this;
    const fromClient = new ClientFrames(this);
    const fromContainer = new ContainerFrames(this);
    client.user = fromClient;
    container.user = fromContainer;
    this.lease.setHolder?.(this);
    client.resume();
    container.resume();
    if (rest.length > 0) fromContainer.onBytes(rest);
    let ready = true;
    for (const bytes of early) if (bytes.length > 0) ready = container.send(bytes);
    if (!ready) client.pause();
    draining.add(this.drain);
    if (draining.begun) this.drain();
    if (client.socket.closed) fromClient.onClose();
    if (container.socket.closed) fromContainer.onClose();
  }

  readonly drain = (): void => {
    this.leaving ??= { code: CLOSE.serviceRestart, reason: "The gateway restarts" };
    if (this.boundary.open) this.leave();
  };

  revoke(fault: Fault): void {
    if (this.revoked) return;
    this.revoked = true;
    this.leaving = closeFor(fault);
    if (this.boundary.open) this.leave();
    this.#cancelRevoked = this.#clock.after(REVOKED_MS, () => {
      this.client.destroy();
      this.container.destroy();
    });
  }

  /** Sends the client the reason of the close; unless it may not go on at all, its answer still reaches the container. */
  leave(): void {
    if (this.leaving === undefined) return;
    this.endClient(this.leaving.code, this.leaving.reason);
    if (this.revoked) this.clientEnded();
  }

  /** The container sends nothing more. */
  containerEnded(): void {
    this.endClient(CLOSE.failed, "The container broke the connection");
  }

  /** The client sends nothing more. */
  clientEnded(): void {
    this.#linger(this.container);
  }

  endClient(code: number, reason: string): void {
    const { client, boundary } = this;
    if (!client.writable) return;
    if (boundary.open) {
      client.send(closeFrame(code, reason));
      boundary.closing = true;
    }
    this.#linger(client);
  }

  closed(): void {
    if (--this.#open > 0) return;
    this.#cancelRevoked();
    this.#draining.delete(this.drain);
    this.#resolve();
  }

  #linger(link: NetConnection): void {
    link.flush();
    if (!link.socket.writableEnded) lingeringClose(link.socket, this.#clock, this.#lingeringCloseMs);
    // It may have waited for the other side to take something; now only its end is waited for.
    link.resume();
  }
}

class ClientFrames implements NetConnectionUser {
  readonly #splice: WebSocketSplice;

  constructor(splice: WebSocketSplice) {
    this.#splice = splice;
  }

  onBytes(chunk: Buffer): void {
    const splice = this.#splice;
    if (splice.revoked) return;
    splice.lease.countBytes(chunk.length, "client");
    splice.record.bytesIn += chunk.length;
    if (splice.pongFilter !== undefined) return this.#sift(chunk, splice.pongFilter);
    if (!splice.container.send(chunk, splice.client)) splice.client.pause();
  }

  onDrain(): void {
    this.#splice.container.resume();
  }

  onEnd(): void {
    this.#splice.clientEnded();
  }

  onClose(): void {
    this.#splice.clientEnded();
    this.#splice.closed();
  }

  #sift(chunk: Buffer, pongFilter: PongFilter): void {
    const { container, client } = this.#splice;
    const rest = pongFilter(chunk);
    if (rest === undefined) return;
    this.#splice.pongFilter = undefined;
    if (rest.length > 0 && !container.send(rest, client)) client.pause();
  }
}

class ContainerFrames implements NetConnectionUser {
  readonly #splice: WebSocketSplice;

  constructor(splice: WebSocketSplice) {
    this.#splice = splice;
  }

  onBytes(chunk: Buffer): void {
    const splice = this.#splice;
    splice.lease.countBytes(chunk.length, "container");
    splice.record.bytesOut += chunk.length;
    splice.boundary.pass(chunk);
    if (!splice.client.send(chunk, splice.container)) splice.container.pause();
    if (splice.leaving !== undefined && splice.boundary.open) splice.leave();
  }

  onDrain(): void {
    this.#splice.client.resume();
  }

  onEnd(): void {
    this.#splice.containerEnded();
  }

  onClose(): void {
    this.#splice.containerEnded();
    this.#splice.closed();
  }
}
