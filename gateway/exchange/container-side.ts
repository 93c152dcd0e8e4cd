import type { ResponseReader } from "../http1/open-http1.ts";
import type { Link, LinkUser } from "../connections/link.ts";
import type { Exchange } from "./exchange.ts";
import type { Shelf } from "./pool.ts";

/** A connection to a container, which carries one exchange after another. */
export class ContainerSide implements LinkUser {
  readonly link: Link;
  readonly reader: ResponseReader;
  /** How long it took to make; 0 once an exchange went over it. */
  connectMs: number;
  /** True once an exchange went over it: then it may have died unnoticed. */
  reused = false;
  /** When it fell out of use, on the ticker's scale. */
  idleSince = 0;
  exchange: Exchange | undefined;
  /** Where the pool keeps it between exchanges. */
  shelf: Shelf | undefined;
  readonly #forget: (side: ContainerSide) => void;

  constructor(link: Link, parts: { reader: ResponseReader; connectMs: number; forget(side: ContainerSide): void }) {
    this.link = link;
    this.reader = parts.reader;
    this.connectMs = parts.connectMs;
    this.#forget = parts.forget;
    link.user = this;
    link.resume();
  }

  onBytes(chunk: Buffer): void {
    if (this.exchange !== undefined) this.exchange.onAnswer(chunk);
    // What nobody asked for would be taken for the answer to the next request.
    else this.destroy();
  }

  onDrain(): void {
    this.exchange?.onContainerDrain();
  }

  onEnd(): void {
    if (this.exchange !== undefined) this.exchange.onContainerEnd();
    else this.destroy();
  }

  onClose(error: Error | undefined): void {
    this.reader.close();
    this.#forget(this);
    this.exchange?.onContainerClose(error);
  }

  destroy(): void {
    this.link.destroy();
  }
}
