import type { Clock } from "../../clock.ts";
import type { Lease } from "../decision.ts";
import type { Link, LinkUser } from "../forward/link.ts";
import type { Sieve } from "../forward/upgraded.ts";
import { CLOSE } from "./close-codes.ts";
import { closeFrame, FrameError, OPCODE, shortFrame, walkFrames, type FrameHead, type FrameWalker } from "./frames.ts";

export type WaitingOptions = {
  clock: Clock;
  lease: Pick<Lease, "bytes">;
  pingMs: number;
  /** At so many bytes the client is no longer read. */
  limit: number;
  /** Called once, when it closed, left or broke the rules. */
  onLeave(): void;
};

/**
 * The client of an accepted WebSocket whose container is still on its way: it is pinged, and its frames are kept as the masked bytes
 * they are.
 */
export class WaitingClient implements LinkUser {
  readonly #link: Link;
  readonly #options: WaitingOptions;
  readonly #walker: FrameWalker;
  #kept: Buffer[] = [];
  readonly #closing: Buffer[] = [];
  #size = 0;
  #left = false;
  #cancelPing: () => void;

  constructor(link: Link, options: WaitingOptions) {
    this.#link = link;
    this.#options = options;
    this.#walker = walkFrames(true, {
      bytes: (bytes, frame) => this.#keep(bytes, frame),
      ended: (frame) => {
        if (frame.opcode === OPCODE.close) this.#leave(shortFrame(OPCODE.close, closePayload(this.#closing, frame)));
      },
    });
    this.#cancelPing = options.clock.after(options.pingMs, () => this.#ping());
    link.user = this;
    link.resume();
    if (link.socket.closed) this.#leave();
  }

  onBytes(chunk: Buffer): void {
    this.#options.lease.bytes(chunk.length, "client");
    if (this.#left) return;
    // Nothing of a buffer that is read into again may be kept.
    this.#walk(this.#link.volatile ? Buffer.from(chunk) : chunk);
    if (this.#size >= this.#options.limit) this.#link.pause();
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
    const walker = this.#walker;
    if (walker.opcode() === OPCODE.pong) return { early: this.#kept, sieve: (chunk) => behindFrame(walker, chunk) };
    // Of a close that has come in part, the container gets that part too: the rest will go to it.
    return { early: [...this.#kept, ...this.#closing, walker.pending()], sieve: undefined };
  }

  #walk(chunk: Buffer): void {
    try {
      this.#walker.push(chunk);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.close(CLOSE.protocolError, error.message);
    }
  }

  #keep(bytes: Buffer, frame: FrameHead): void {
    // Pongs answer our own pings, of which the container knows nothing.
    if (frame.opcode === OPCODE.pong) return;
    if (frame.opcode === OPCODE.close) this.#closing.push(bytes);
    else {
      this.#kept.push(bytes);
      this.#size += bytes.length;
    }
  }

  #ping(): void {
    this.#link.send(shortFrame(OPCODE.ping));
    this.#cancelPing = this.#options.clock.after(this.#options.pingMs, () => this.#ping());
  }

  #leave(frame?: Buffer): void {
    if (this.#left) return;
    this.#left = true;
    this.#cancelPing();
    this.#kept = [];
    if (frame !== undefined) this.#link.send(frame);
    this.#link.end();
    this.#options.onLeave();
  }
}

/** What comes behind the frame that `walker` is in; such a frame is short. */
function behindFrame(walker: FrameWalker, chunk: Buffer): Buffer | undefined {
  let at = 0;
  try {
    while (!walker.atBoundary() && at < chunk.length) walker.push(chunk.subarray(at, ++at));
  } catch (error) {
    if (!(error instanceof FrameError)) throw error;
    // The container is the judge of what follows.
    return chunk.subarray(at);
  }
  return walker.atBoundary() ? chunk.subarray(at) : undefined;
}

/** A close is answered with its own code and reason, unmasked. */
function closePayload(pieces: Buffer[], frame: FrameHead): Buffer {
  const bytes = Buffer.concat(pieces);
  const mask = bytes.subarray(2, 6);
  const payload = Buffer.from(bytes.subarray(6, 6 + frame.length));
  for (let at = 0; at < payload.length; at++) payload[at] = (payload[at] ?? 0) ^ (mask[at % 4] ?? 0);
  return payload;
}
