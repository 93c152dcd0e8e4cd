import { SLOT_BITS, type SocketId } from "./socket-layer.ts";

const SLOT_MASK = (1 << SLOT_BITS) - 1;
/** Numbers stay small integers, so a slot has 2,048 generations. */
const MAX_ID = 2 ** 31;

/** The slot of a number: an index below the largest number of sockets that were open at once. */
export function slotOf(id: SocketId): number {
  return id & SLOT_MASK;
}

/** The open sockets of a layer by number. A slot that is used again has another number. */
export class SlotTable<T extends { readonly id: SocketId }> {
  readonly #slots: (T | undefined)[] = [];
  readonly #free: SocketId[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The number that the next `add` should have. */
  nextId(): SocketId {
    return this.#free.at(-1) ?? this.#slots.length;
  }

  add(socket: T): void {
    this.#free.pop();
    this.#slots[socket.id & SLOT_MASK] = socket;
    this.#size++;
  }

  find(id: SocketId): T | undefined {
    const socket = this.#slots[id & SLOT_MASK];
    return socket !== undefined && socket.id === id ? socket : undefined;
  }

  delete({ id }: T): void {
    this.#slots[id & SLOT_MASK] = undefined;
    this.#free.push((id + SLOT_MASK + 1) % MAX_ID);
    this.#size--;
  }
}
