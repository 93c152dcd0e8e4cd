/**
 * Whether this gateway is about to end, and who wants to be told when it is. Not an AbortSignal, which looks at all its listeners for each
 * that comes or goes: with ten thousand WebSockets that took 50 µs each time.
 */
export class Draining {
  #begun = false;
  readonly #waiting = new Set<() => void>();

  get begun(): boolean {
    return this.#begun;
  }

  /** Calls `act` when it begins, once. */
  add(act: () => void): void {
    this.#waiting.add(act);
  }

  delete(act: () => void): void {
    this.#waiting.delete(act);
  }

  begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    for (const act of this.#waiting) act();
    this.#waiting.clear();
  }
}
