import { MAX_PLACED, POISON } from "./socket-layer.ts";

const READ_BYTES = 2_097_152;
const MEMORY_BYTES = READ_BYTES + 4 * MAX_PLACED;
/** A read may fill at least this much memory, and at most so much that one socket cannot occupy a turn. */
const MIN_READ = 65_536;
const MAX_READ = 1_048_576;

/** Beyond it, sockets wait for the next turn. */
export const MAX_TURN_BYTES = 2 * READ_BYTES;

/**
 * The memory of a turn: what was read, then what was placed. Queued ranges refer to it, so either is forgotten only after they have left. `poison`: see
 * `POISON`.
 */
export class TurnMemory {
  readonly bytes = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  readonly #poison: boolean;
  #readAt = 0;
  #placeAt = READ_BYTES;

  constructor(poison: boolean) {
    this.#poison = poison;
  }

  /** Where the next bytes are read to. */
  get readAt(): number {
    return this.#readAt;
  }

  /** Forget what was read before the next read. */
  get isReadFull(): boolean {
    return READ_BYTES - this.#readAt < MIN_READ;
  }

  /** How many bytes the next read may fill. */
  get readSpace(): number {
    return Math.min(READ_BYTES - this.#readAt, MAX_READ);
  }

  addRead(bytes: number): void {
    this.#readAt += bytes;
  }

  /** The memory from `at` may be read into again. */
  forgetRead(at: number): void {
    if (this.#poison) this.bytes.fill(POISON, at, this.#readAt);
    this.#readAt = at;
  }

  /** Where the next bytes are placed. */
  get placeAt(): number {
    return this.#placeAt;
  }

  /** False: forget what was placed before the next bytes. */
  hasPlace(bytes: number): boolean {
    return this.#placeAt + bytes <= MEMORY_BYTES;
  }

  addPlaced(bytes: number): void {
    this.#placeAt += bytes;
  }

  forgetPlaced(): void {
    if (this.#poison) this.bytes.fill(POISON, READ_BYTES, this.#placeAt);
    this.#placeAt = READ_BYTES;
  }
}
