import { MessageRefused } from "./message-refused.ts";

export type TrailerRules = { lines: number; isForbidden(name: string): boolean };

/** Looks at the names in a trailer section, which come in pieces. */
export class Trailers {
  readonly #rules: TrailerRules;
  #lines = 0;
  #name = "";
  #named = false;

  constructor(rules: TrailerRules) {
    this.#rules = rules;
  }

  name(piece: string): void {
    if (this.#named) this.#check();
    this.#name += piece;
  }

  value(): void {
    this.#named = true;
  }

  end(): void {
    this.#check();
  }

  #check(): void {
    if (this.#name === "") return;
    if (++this.#lines > this.#rules.lines) throw new MessageRefused(431, "The body has too many trailers");
    if (this.#rules.isForbidden(this.#name.toLowerCase().replaceAll("_", "-")))
      throw new MessageRefused(400, "The body has a trailer that may not be one");
    this.#name = "";
    this.#named = false;
  }
}
