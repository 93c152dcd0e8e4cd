import type { Clock } from "../../clock.ts";
import { CLOSE } from "../containers/close-codes.ts";
import { closeFrame } from "../containers/frames.ts";
import type { Lease } from "../decision.ts";
import type { GatewayLimits } from "../limits.ts";
import type { Draining } from "./draining.ts";
import { FrameBoundary } from "./frame-boundary.ts";
import type { Link, LinkUser } from "./link.ts";
import { linger } from "./linger.ts";

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
  lease: Pick<Lease, "bytes">;
  told: Told;
  draining: Draining;
  clock: Clock;
  limits: Pick<GatewayLimits, "lingerMs">;
};

/**
 * Passes bytes both ways over two connections that have become a WebSocket, until both are closed; resolves then. A frame of our own is
 * put in between two of the container's only, and never after its close: 1012 when the gateway is about to end, 1011 when the
 * container has gone without a word. A WebSocket has no half-open state: once one side has ended, the other is to follow.
 */
export function spliceUpgraded(upgraded: Upgraded): Promise<void> {
  return new Promise((resolve) => new Splice(upgraded, resolve).begin(upgraded));
}

/** Both directions of one WebSocket. What runs for every message makes nothing but what `send` makes. */
class Splice {
  readonly client: Link;
  readonly container: Link;
  readonly lease: Pick<Lease, "bytes">;
  readonly told: Told;
  readonly boundary = new FrameBoundary();
  sieve: Sieve | undefined;
  /** The client is to be told to come again elsewhere as soon as it may be. */
  leaving = false;
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
    this.leaving = true;
    if (this.boundary.open) this.leave();
  };

  /** The client is told to come again elsewhere; its answer still reaches the container. */
  leave(): void {
    this.endClient(CLOSE.serviceRestart, "The gateway restarts");
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
    if (splice.leaving && splice.boundary.open) splice.leave();
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
