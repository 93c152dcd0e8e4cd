import type { Clock } from "../../lib/clock.ts";
import type { Lease } from "../decision.ts";
import type { NetConnection, NetConnectionUser } from "../connections/connection.ts";
import type { PongFilter } from "./splice-websocket.ts";
import { CLOSE, closeFrame, FrameError, OPCODE, shortFrame } from "./frames.ts";
import { QueuedFrames } from "./queued-frames.ts";

export type WaitingClientOptions = {
  clock: Clock;
  lease: Pick<Lease, "countBytes">;
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
export class WaitingClient implements NetConnectionUser {
  readonly #link: NetConnection;
  readonly #options: WaitingClientOptions;
  readonly #frames = new QueuedFrames();
  readonly #share: QueueShare;
  #left = false;
  #cancelPing: () => void;

  constructor(link: NetConnection, options: WaitingClientOptions) {
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
    this.#options.lease.countBytes(chunk.length, "client");
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

  /** The container is there: what the client sent so far. Of a pong that has come in part, `pongFilter` takes the rest out of what follows. */
  handOver(): { early: Buffer[]; pongFilter: PongFilter | undefined } {
    this.#cancelPing();
    this.#share.release();
    const frames = this.#frames;
    // Of a close that has come in part, the container gets that part too: the rest will go to it.
    return { early: frames.take(), pongFilter: frames.withinPong ? (chunk) => frames.behindPong(chunk) : undefined };
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

/** Reads a client's frames into a queue. */
export type QueueReader = { pause(): void; resume(): void };

export type QueueShare = {
  /** The queue takes so many bytes of memory now. */
  uses(bytes: number): void;
  /** The queue is gone. May be repeated. */
  release(): void;
};

export type QueueBudget = {
  /** `user`: whose part of the budget the queue counts against. A reader that may not read now gets `pause` before this returns. */
  join(user: string, reader: QueueReader): QueueShare;
};

type QueueMember = { reader: QueueReader; bytes: number; pools: readonly [BytePool, BytePool] };

/** Queues that share so many bytes. */
type BytePool = { limit: number; used: number; full: boolean; members: Set<QueueMember> };

/**
 * How much memory the queues of waiting WebSockets take together, of one user and of the process. Where that is spent, none of those
 * queues is read until half of it is free again: what their clients send waits in the system's own buffers, and nothing is lost.
 */
export function openQueueBudget({ ofUser, ofAll }: { ofUser: number; ofAll: number }): QueueBudget {
  const all: BytePool = { limit: ofAll, used: 0, full: false, members: new Set() };
  const users = new Map<string, BytePool>();

  return {
    join: (user, reader) => {
      const own = users.get(user) ?? { limit: ofUser, used: 0, full: false, members: new Set<QueueMember>() };
      users.set(user, own);
      const member: QueueMember = { reader, bytes: 0, pools: [own, all] };
      for (const pool of member.pools) pool.members.add(member);
      if (mustWait(member)) reader.pause();
      return {
        uses: (bytes) => {
          for (const pool of member.pools) {
            if (!pool.members.has(member)) continue;
            pool.used += bytes - member.bytes;
            if (!pool.full && pool.used >= pool.limit) fill(pool);
          }
          member.bytes = bytes;
        },
        release: () => {
          for (const pool of member.pools) {
            if (!pool.members.delete(member)) continue;
            pool.used -= member.bytes;
            if (pool.full && pool.used <= pool.limit / 2) drain(pool);
          }
          if (own.members.size === 0 && users.get(user) === own) users.delete(user);
        },
      };
    },
  };
}

function fill(pool: BytePool): void {
  pool.full = true;
  for (const { reader } of pool.members) reader.pause();
}

function drain(pool: BytePool): void {
  pool.full = false;
  for (const member of pool.members) if (!mustWait(member)) member.reader.resume();
}

function mustWait({ pools: [own, all] }: QueueMember): boolean {
  return own.full || all.full;
}
