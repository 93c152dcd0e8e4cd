import type { Clock } from "../../lib/clock.ts";
import type { Lease } from "../decision.ts";
import type { NetConnection, ConnectionUser } from "../connections/connection.ts";
import type { PongFilter } from "./splice-websocket.ts";
import { CLOSE, closeFrame, FrameError, OPCODE, shortFrame } from "./frames.ts";
import { QueuedFrames } from "./queued-frames.ts";

type WaitingClientOptions = {
  clock: Clock;
  lease: Pick<Lease, "countBytes">;
  pingMs: number;
  /** Queued bytes beyond which the client is not read. */
  limit: number;
  budget: QueueBudget;
  /** Whose budget its frames use. */
  user: string;
  /** Called once, when the client closed, left, or sent invalid frames. */
  onLeave(): void;
};

/** A client sends one pong in 15 s: so many bytes of pongs are an attack. */
const MAX_PONG_BYTES = 65_536;

/** The client of an accepted WebSocket whose container is starting: it is pinged, and its frames are queued as masked bytes. */
export class WaitingClient implements ConnectionUser {
  readonly #connection: NetConnection;
  readonly #options: WaitingClientOptions;
  readonly #frames = new QueuedFrames();
  readonly #share: QueueShare;
  #left = false;
  #cancelPing: () => void;

  constructor(connection: NetConnection, options: WaitingClientOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#cancelPing = options.clock.after(options.pingMs, () => this.#ping());
    connection.user = this;
    connection.resume();
    this.#share = options.budget.join(options.user, {
      pause: () => connection.pause(),
      resume: () => {
        if (this.#frames.size < options.limit) connection.resume();
      },
    });
    if (connection.closed) this.#leave();
  }

  onBytes(memory: Buffer, at: number, end: number): void {
    this.#options.lease.countBytes(end - at, "client");
    if (this.#left) return;
    this.#queue(memory, at, end);
    if (this.#frames.size >= this.#options.limit) this.#connection.pause();
  }

  onDrain(): void {}

  onEnd(): void {
    this.#leave();
  }

  onClose(): void {
    this.#leave();
  }

  close(code: number, reason: string): void {
    this.#leave(closeFrame(code, reason));
  }

  /** Gives the connection away, with the queued bytes. `pongFilter` removes the rest of an incomplete pong from what follows. */
  handOver(): { early: Buffer[]; pongFilter: PongFilter | undefined } {
    this.#cancelPing();
    this.#share.release();
    const frames = this.#frames;
    // The queue includes an incomplete close: the container gets the rest of it directly.
    return { early: frames.take(), pongFilter: frames.withinPong ? (memory, at, end) => frames.behindPong(memory, at, end) : undefined };
  }

  #queue(memory: Buffer, at: number, end: number): void {
    const frames = this.#frames;
    try {
      frames.push(memory, at, end);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      return this.close(CLOSE.protocolError, error.message);
    }
    if (frames.closed) return this.#leave(shortFrame(OPCODE.close, frames.closePayload()));
    if (frames.dropped > MAX_PONG_BYTES) return this.close(CLOSE.policy, "Too many pongs: this WebSocket still waits for its container");
    this.#share.uses(frames.memory);
  }

  #ping(): void {
    this.#connection.sendOwn(shortFrame(OPCODE.ping));
    this.#cancelPing = this.#options.clock.after(this.#options.pingMs, () => this.#ping());
  }

  #leave(frame?: Buffer): void {
    if (this.#left) return;
    this.#left = true;
    this.#cancelPing();
    this.#frames.clear();
    this.#share.release();
    if (frame !== undefined) this.#connection.sendOwn(frame);
    this.#connection.end();
    this.#options.onLeave();
  }
}

/** Reads a client's frames into a queue. */
type QueueReader = { pause(): void; resume(): void };

type QueueShare = {
  /** The queue now uses so many bytes of memory. */
  uses(bytes: number): void;
  /** The queue is gone. May be repeated. */
  release(): void;
};

export type QueueBudget = {
  /** The queue counts against the budget of `user`. If the budget is used up, `pause` is called before this returns. */
  join(user: string, reader: QueueReader): QueueShare;
};

type QueueMember = { reader: QueueReader; bytes: number; pools: readonly [BytePool, BytePool] };

/** Queues that share `limit` bytes. */
type BytePool = { limit: number; used: number; full: boolean; members: Set<QueueMember> };

/**
 * Limits the memory of the queues of waiting WebSockets, of one user and of the process. When it is used up, these queues' clients are not read until
 * half of it is free: their bytes wait in the kernel's buffers, and nothing is lost.
 */
export function createQueueBudget({ ofUser, ofAll }: { ofUser: number; ofAll: number }): QueueBudget {
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
