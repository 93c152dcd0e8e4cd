import type { Clock } from "../../lib/clock.ts";
import type { ByteCounter } from "../access-record.ts";
import type { Fault } from "../../lib/fault.ts";
import { CLOSE, closeFor, closeFrame, closeReason, FrameBoundary } from "./frames.ts";
import type { Lease, LeaseHolder } from "../decision.ts";
import type { GatewayLimits } from "../limits.ts";
import { destroyStalled, type Draining, lingeringClose, watchPaused } from "../connections/closing.ts";
import type { NetConnection, ConnectionUser } from "../connections/connection.ts";

/** Removes the rest of a pong from the client's bytes. Returns the offset after it, and the filter is done; or -1 if all bytes belong to it. */
export type PongFilter = (memory: Buffer, at: number, end: number) => number;

export type UpgradedPair = {
  client: NetConnection;
  container: NetConnection;
  /** Bytes of the client and of the container that were not forwarded yet, in memory of their own. */
  early: readonly Buffer[];
  rest: Buffer;
  pongFilter?: PongFilter | undefined;
  lease: Pick<Lease, "countBytes" | "setHolder" | "settle">;
  record: ByteCounter;
  draining: Draining;
  clock: Clock;
  limits: Pick<GatewayLimits, "lingeringCloseMs">;
};

/**
 * Forwards bytes in both directions until both connections are closed; resolves then. berth sends frames of its own only between two of the container's,
 * and never after its close: 1001 when the container is about to stop, 1012 when the gateway drains, 1011 when the container leaves without a close, 1008
 * when the caller's session was revoked. A WebSocket has no half-open state: when one side ends, the other is closed too.
 */
export function spliceWebSocket(upgraded: UpgradedPair): Promise<void> {
  return new Promise((resolve) => new WebSocketSplice(upgraded, resolve).begin(upgraded));
}

/** After a revocation, how long the container's current frame may take to end, so that the client gets the reason. */
const REVOKED_MS = 1_000;

/** Both directions of one WebSocket. A message allocates nothing beyond what `send` does. */
class WebSocketSplice implements LeaseHolder {
  readonly client: NetConnection;
  readonly container: NetConnection;
  readonly lease: Pick<Lease, "countBytes" | "setHolder" | "settle">;
  readonly record: ByteCounter;
  readonly boundary = new FrameBoundary();
  pongFilter: PongFilter | undefined;
  /** The close to send when a frame may be inserted. */
  leaving: { code: number; reason: string } | undefined;
  /** Bytes of the client are no longer forwarded. */
  revoked = false;
  #cancelRevoked = () => {};
  readonly #draining: Draining;
  readonly #clock: Clock;
  readonly #lingeringCloseMs: number;
  readonly #resolve: () => void;
  /** Created at the first pause: most WebSockets have none. */
  #noteClientPaused: (() => void) | undefined;
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
    this.lease.settle?.();
    client.resume();
    container.resume();
    if (rest.length > 0) fromContainer.onBytes(rest, 0, rest.length);
    let ready = true;
    for (const bytes of early) if (bytes.length > 0) ready = container.sendOwn(bytes);
    if (!ready) this.pauseClient();
    draining.add(this.drain, this.#destroy);
    if (draining.begun) this.drain();
    if (client.closed) fromClient.onClose();
    if (container.closed) fromContainer.onClose();
  }

  readonly #destroy = (): void => {
    this.client.destroy();
    this.container.destroy();
  };

  readonly drain = (): void => this.#leaveSoon(CLOSE.serviceRestart, "The gateway restarts");

  onContainerStop(reason: string): void {
    this.#leaveSoon(CLOSE.goingAway, closeReason(reason));
  }

  revoke(fault: Fault): void {
    if (this.revoked) return;
    this.revoked = true;
    this.leaving = closeFor(fault);
    if (this.boundary.open) this.leave();
    this.#cancelRevoked = this.#clock.after(REVOKED_MS, this.#destroy);
  }

  /** Sends the close. Unless the caller was revoked, the client's reply still reaches the container. */
  leave(): void {
    if (this.leaving === undefined) return;
    this.endClient(this.leaving.code, this.leaving.reason);
    if (this.revoked) this.clientEnded();
  }

  /** The container does not take the client's bytes. */
  pauseClient(): void {
    this.client.pause();
    this.#noteClientPaused ??= watchPaused(this.client, this.container, this.#clock, () => this.client.destroy());
    this.#noteClientPaused();
  }

  /** The container sends nothing more. */
  containerEnded(): void {
    this.endClient(CLOSE.failed, "The container closed the connection");
  }

  /** The client sends nothing more. */
  clientEnded(): void {
    this.#closeSoon(this.container);
  }

  endClient(code: number, reason: string): void {
    const { client, boundary } = this;
    if (!client.writable) return;
    if (boundary.open) {
      client.sendOwn(closeFrame(code, reason));
      boundary.closing = true;
    }
    this.#closeSoon(client);
  }

  closed(): void {
    if (--this.#open > 0) return;
    this.#cancelRevoked();
    this.#draining.delete(this.drain);
    this.#resolve();
  }

  #leaveSoon(code: number, reason: string): void {
    const isFirst = this.leaving === undefined;
    this.leaving ??= { code, reason };
    if (this.boundary.open) this.leave();
    // The rest of the frame waits for a client that may never read it.
    else if (isFirst) destroyStalled(this.client, this.#clock, this.#lingeringCloseMs);
  }

  #closeSoon(connection: NetConnection): void {
    if (!connection.ended) lingeringClose(connection, this.#clock, this.#lingeringCloseMs);
    // It may be paused for the other side; now only its end matters.
    connection.resume();
  }
}

class ClientFrames implements ConnectionUser {
  readonly #splice: WebSocketSplice;

  constructor(splice: WebSocketSplice) {
    this.#splice = splice;
  }

  onBytes(memory: Buffer, at: number, end: number): void {
    const splice = this.#splice;
    if (splice.revoked) return;
    splice.lease.countBytes(end - at, "client");
    splice.record.countBytes(end - at, "client");
    const from = splice.pongFilter === undefined ? at : this.#filterPong(splice.pongFilter(memory, at, end));
    if (from !== -1 && from < end && !splice.container.send(memory, from, end)) splice.pauseClient();
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

  #filterPong(after: number): number {
    if (after !== -1) this.#splice.pongFilter = undefined;
    return after;
  }
}

class ContainerFrames implements ConnectionUser {
  readonly #splice: WebSocketSplice;

  constructor(splice: WebSocketSplice) {
    this.#splice = splice;
  }

  onBytes(memory: Buffer, at: number, end: number): void {
    const splice = this.#splice;
    splice.lease.countBytes(end - at, "container");
    splice.record.countBytes(end - at, "container");
    splice.boundary.pass(memory, at, end);
    if (!splice.client.send(memory, at, end)) splice.container.pause();
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
