import type { Clock } from "../../lib/clock.ts";
import type { Fault } from "../../lib/fault.ts";
import { CLOSE, closeFor, closeFrame } from "./frames.ts";
import type { Lease, LeaseHolder } from "../decision.ts";
import type { GatewayLimits } from "../limits.ts";
import { type Draining, linger } from "../connections/closing.ts";
import { FrameBoundary } from "./frame-boundary.ts";
import type { Link, LinkUser } from "../connections/connection.ts";

/** How many bytes came from the client and the container. */
export type Told = { bytesIn: number; bytesOut: number };

/** Takes out of what the client sends the rest of an answer to us: undefined while all is of it, then what comes behind it, once. */
export type Sieve = (chunk: Buffer) => Buffer | undefined;

export type Upgraded = {
  client: Link;
  container: Link;
  /** What came from the client, and what from the container, and was not passed on yet: to be kept, even where its link is volatile. */
  early: readonly Buffer[];
  rest: Buffer;
  sieve?: Sieve | undefined;
  lease: Pick<Lease, "bytes" | "heldBy">;
  told: Told;
  draining: Draining;
  clock: Clock;
  limits: Pick<GatewayLimits, "lingerMs">;
};

/**
 * Passes bytes both ways over two connections that have become a WebSocket, until both are closed; resolves then. A frame of our own is
 * put in between two of the container's only, and never after its close: 1012 when the gateway is about to end, 1011 when the
 * container has gone without a word, 1008 when the caller's session was revoked. A WebSocket has no half-open state: once one side has ended, the other is to follow.
 */
export function spliceUpgraded(upgraded: Upgraded): Promise<void> {
  return new Promise((resolve) => new Splice(upgraded, resolve).begin(upgraded));
}

/** How long a WebSocket whose caller's session was revoked may take to end the container's frame that is under way, so that the client gets the reason. */
const REVOKED_MS = 1_000;

/** Both directions of one WebSocket. What runs for every message makes nothing but what `send` makes. */
class Splice implements LeaseHolder {
  readonly client: Link;
  readonly container: Link;
  readonly lease: Pick<Lease, "bytes" | "heldBy">;
  readonly told: Told;
  readonly boundary = new FrameBoundary();
  sieve: Sieve | undefined;
  /** With what the client is to be closed as soon as it may be. */
  leaving: { code: number; reason: string } | undefined;
  /** Nothing more of the client's reaches the container. */
  revoked = false;
  #cancelRevoked = () => {};
  readonly #draining: Draining;
  readonly #clock: Clock;
  readonly #lingerMs: number;
  readonly #resolve: () => void;
  #open = 2;

  constructor(upgraded: Upgraded, resolve: () => void) {
    this.client = upgraded.client;
    this.container = upgraded.container;
    this.lease = upgraded.lease;
    this.told = upgraded.told;
    this.sieve = upgraded.sieve;
    this.#draining = upgraded.draining;
    this.#clock = upgraded.clock;
    this.#lingerMs = upgraded.limits.lingerMs;
    this.#resolve = resolve;
  }

  begin({ early, rest, draining }: Pick<Upgraded, "early" | "rest" | "draining">): void {
    const { client, container } = this;
    const fromClient = new FromClient(this);
    const fromContainer = new FromContainer(this);
    client.user = fromClient;
    container.user = fromContainer;
    this.lease.heldBy?.(this);
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

  #linger(link: Link): void {
    link.flush();
    if (!link.socket.writableEnded) linger(link.socket, this.#clock, this.#lingerMs);
    // It may have waited for the other side to take something; now only its end is waited for.
    link.resume();
  }
}

class FromClient implements LinkUser {
  readonly #splice: Splice;

  constructor(splice: Splice) {
    this.#splice = splice;
  }

  onBytes(chunk: Buffer): void {
    const splice = this.#splice;
    if (splice.revoked) return;
    splice.lease.bytes(chunk.length, "client");
    splice.told.bytesIn += chunk.length;
    if (splice.sieve !== undefined) return this.#sift(chunk, splice.sieve);
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

  #sift(chunk: Buffer, sieve: Sieve): void {
    const { container, client } = this.#splice;
    const rest = sieve(chunk);
    if (rest === undefined) return;
    this.#splice.sieve = undefined;
    if (rest.length > 0 && !container.send(rest, client)) client.pause();
  }
}

class FromContainer implements LinkUser {
  readonly #splice: Splice;

  constructor(splice: Splice) {
    this.#splice = splice;
  }

  onBytes(chunk: Buffer): void {
    const splice = this.#splice;
    splice.lease.bytes(chunk.length, "container");
    splice.told.bytesOut += chunk.length;
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
