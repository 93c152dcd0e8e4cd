import { SLOT_BITS, type SocketId } from "./socket-layer.ts";

const SLOT_MASK = (1 << SLOT_BITS) - 1;
const ID_MASK = 0x3fff_ffff;

/** The slot of a number: an index below the largest number of sockets that were open at once. */
export function slotOf(id: SocketId): number {
  return id & SLOT_MASK;
}

/** What belongs to each open socket. A slot is used again with another generation, so the number of a closed socket leads to nothing. */
export class SocketSlots<Value> {
  readonly #values: (Value | undefined)[] = [];
  readonly #ids: SocketId[] = [];
  readonly #free: number[] = [];

  open(value: Value): SocketId {
    const slot = this.#free.pop() ?? this.#values.length;
    const id = (this.#ids[slot] ?? slot) & ID_MASK;
    this.#ids[slot] = id;
    this.#values[slot] = value;
    return id;
  }

  get(id: SocketId): Value | undefined {
    const slot = id & SLOT_MASK;
    return this.#ids[slot] === id ? this.#values[slot] : undefined;
  }

  close(id: SocketId): void {
    const slot = id & SLOT_MASK;
    if (this.#ids[slot] !== id) return;
    this.#values[slot] = undefined;
    this.#ids[slot] = (id + SLOT_MASK + 1) & ID_MASK;
    this.#free.push(slot);
  }
}
