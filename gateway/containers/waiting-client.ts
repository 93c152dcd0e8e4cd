import type { Clock } from "../../lib/clock.ts";
import type { Lease } from "../decision.ts";
import type { Link, LinkUser } from "../connections/link.ts";
import type { Sieve } from "../connections/upgraded.ts";
import { CLOSE } from "./close-codes.ts";
import { closeFrame, FrameError, OPCODE, shortFrame } from "./frames.ts";
import type { QueueBudget, QueueShare } from "./queue-budget.ts";
import { QueuedFrames } from "./queued-frames.ts";

export type WaitingOptions = {
  clock: Clock;
  lease: Pick<Lease, "bytes">;
  pingMs: number;
  /** At so many bytes the client is no longer read. */
  limit: number;
  budget: QueueBudget;
  /** Whose part of the budget its frames take. */
  user: string;
  /** Called once, when it closed, left or broke the rules. */
  onLeave(): void;
};

/** A client answers a ping in 15 s: who sends so many bytes of pongs only wants them read. */
const MOST_PONG_BYTES = 65_536;

/**
 * The client of an accepted WebSocket whose container is still on its way: it is pinged, and its frames are kept as the masked bytes
 * they are.
 */
export class WaitingClient implements LinkUser {
  readonly #link: Link;
  readonly #options: WaitingOptions;
  readonly #frames = new QueuedFrames();
  readonly #share: QueueShare;
  #left = false;
  #cancelPing: () => void;

  constructor(link: Link, options: WaitingOptions) {
    this.#link = link;
    this.#options = options;
    this.#cancelPing = options.clock.after(options.pingMs, () => this.#ping());
    link.user = this;
    link.resume();
    this.#share = options.budget.join(options.user, {
      pause: () => link.pause(),
      resume: () => {
        if (this.#frames.size < options.limit) link.resume();
      },
    });
    if (link.socket.closed) this.#leave();
  }

  onBytes(chunk: Buffer): void {
    this.#options.lease.bytes(chunk.length, "client");
    if (this.#left) return;
    this.#queue(chunk);
    if (this.#frames.size >= this.#options.limit) this.#link.pause();
  }

  onDrain(): void {}

  onEnd(): void {
    this.#leave();
  }

  onClose(): void {
    this.#leave();
  }

  /** Says that it will not be served. */
  close(code: number, reason: string): void {
    this.#leave(closeFrame(code, reason));
  }

  /** The container is there: what the client sent so far. Of a pong that has come in part, `sieve` takes the rest out of what follows. */
  handOver(): { early: Buffer[]; sieve: Sieve | undefined } {
    this.#cancelPing();
    this.#share.release();
    const frames = this.#frames;
    // Of a close that has come in part, the container gets that part too: the rest will go to it.
    return { early: frames.take(), sieve: frames.withinPong ? (chunk) => frames.behindPong(chunk) : undefined };
  }

  #queue(chunk: Buffer): void {
    const frames = this.#frames;
    try {
      frames.push(chunk);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      return this.close(CLOSE.protocolError, error.message);
    }
    if (frames.closed) return this.#leave(shortFrame(OPCODE.close, frames.closePayload()));
    if (frames.dropped > MOST_PONG_BYTES) return this.close(CLOSE.policy, "Too many pongs: this WebSocket still waits for its container");
    this.#share.uses(frames.memory);
  }

  #ping(): void {
    this.#link.send(shortFrame(OPCODE.ping));
    this.#cancelPing = this.#options.clock.after(this.#options.pingMs, () => this.#ping());
  }

  #leave(frame?: Buffer): void {
    if (this.#left) return;
    this.#left = true;
    this.#cancelPing();
    this.#frames.clear();
    this.#share.release();
    if (frame !== undefined) this.#link.send(frame);
    this.#link.end();
    this.#options.onLeave();
  }
}
