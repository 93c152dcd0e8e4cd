import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { lingeringClose, watchBroken, watchPaused } from "../connections/closing.ts";
import type { NetConnection, ConnectionUser } from "../connections/connection.ts";
import type { ByteCounter } from "../access-record.ts";
import { CONSOLE_COOKIES } from "../containers/credentials.ts";
import type { ExchangeSide, Lease } from "../decision.ts";
import type { GatewayLimits } from "../limits.ts";

type TcpPair = {
  client: NetConnection;
  container: NetConnection;
  lease: Pick<Lease, "countBytes">;
  record: ByteCounter;
  clock: Clock;
  limits: Pick<GatewayLimits, "lingeringCloseMs">;
  /** Called once if the connection is destroyed, because a browser sent the session of a console. */
  refused(fault: Fault): void;
};

/** How often a connection that is to end is checked for rest, and how long it must have been at rest. */
const REST_MS = 500;

/**
 * Forwards bytes in both directions until both connections are closed. Each direction ends by itself. A side that takes no bytes stops the other one; a
 * reset is passed on as a reset, so that incomplete data never looks complete.
 */
export class TcpSplice {
  readonly over: Promise<void>;
  readonly #pair: TcpPair;
  readonly #resolve: () => void;
  readonly #cookies = new ConsoleCookieSearch();
  #open = 2;
  #lastFrom: ExchangeSide = "container";
  #lastByteAt: number;
  #cancelRetire: (() => void) | undefined;
  #isEnding = false;

  constructor(pair: TcpPair) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.over = promise;
    this.#resolve = resolve;
    this.#pair = pair;
    const { client, container, clock } = pair;
    this.#lastByteAt = clock.monotonic();
    client.user = this.#userOf(client, container, "client");
    container.user = this.#userOf(container, client, "container");
    client.resume();
    container.resume();
    for (const connection of [client, container]) if (connection.closed) connection.user.onClose(undefined);
  }

  /**
   * Ends the connection as soon as it is at rest: what it sent last came from the container, and nothing followed. A client that waits for a response gets
   * it first.
   */
  retire(): void {
    if (this.#cancelRetire !== undefined || this.#open === 0) return;
    const { clock } = this.#pair;
    const check = () => {
      const isAtRest = this.#lastFrom === "container" && clock.monotonic() - this.#lastByteAt >= REST_MS && this.#pair.client.backlog === 0;
      if (isAtRest) this.#end();
      else this.#cancelRetire = clock.after(REST_MS, check);
    };
    check();
    this.#cancelRetire ??= () => undefined;
  }

  destroy(): void {
    this.#pair.client.reset();
    this.#pair.container.reset();
  }

  /** The container first: what it still sends reaches the client. */
  #end(): void {
    this.#isEnding = true;
    this.#closeSoon(this.#pair.container);
  }

  #closeSoon(connection: NetConnection): void {
    lingeringClose(connection, this.#pair.clock, this.#pair.limits.lingeringCloseMs);
    // It may be paused for the other side; now only its end matters.
    connection.resume();
  }

  #userOf(from: NetConnection, to: NetConnection, side: ExchangeSide): ConnectionUser {
    const { lease, record, clock, refused } = this.#pair;
    // A container's last bytes reach its client, however long that does not read.
    const noteClientPaused = side === "client" ? watchPaused(from, to, clock, () => this.destroy()) : undefined;
    return {
      onBytes: (memory, at, end) => {
        lease.countBytes(end - at, side);
        record.countBytes(end - at, side);
        if (side === "client" && this.#cookies.isIn(memory.subarray(at, end))) {
          this.destroy();
          return refused(new Fault("ORIGIN_NOT_PERMITTED", COOKIE_REFUSED));
        }
        this.#lastFrom = side;
        this.#lastByteAt = clock.monotonic();
        if (to.send(memory, at, end)) return;
        from.pause();
        noteClientPaused?.();
      },
      onDrain: () => to.resume(),
      onEnd: () => {
        to.end();
        // The other direction may stay open for hours.
        const cancel = watchBroken(from, clock, () => this.destroy());
        from.onceClosed(cancel);
      },
      onClose: (error) => {
        if (error !== undefined) to.reset();
        else if (this.#isEnding) this.#closeSoon(to);
        else to.end();
        this.#closed();
      },
    };
  }

  #closed(): void {
    if (--this.#open > 0) return;
    this.#cancelRetire?.();
    this.#resolve();
  }
}

const COOKIE_REFUSED =
  "A browser sent the session of berth's console to this port: browsers send the cookies of a host to all its ports. Open the console by another host name, or with TLS.";
const NEEDLES = CONSOLE_COOKIES.map((name) => Buffer.from(`${name}=`));
const OVERLAP = Math.max(...NEEDLES.map(({ length }) => length)) - 1;
/** How an HTTP request begins: a method and a space. The method may be longer than the first bytes. */
const REQUEST = /^[\w!#$%&'*+.^`|~-]+(?: |$)/;
const LONGEST_LOOK = 64;

/** Searches what an HTTP client sends for a cookie of a console, also in later requests. Another protocol's data may hold such a text. */
class ConsoleCookieSearch {
  /** Undefined: nothing came yet. */
  #isHttp: boolean | undefined;
  /** The end of the bytes before: a cookie's name may be in two pieces. */
  #before = Buffer.alloc(0);

  isIn(bytes: Buffer): boolean {
    this.#isHttp ??= REQUEST.test(bytes.toString("latin1", 0, LONGEST_LOOK));
    if (!this.#isHttp) return false;
    const seam = Buffer.concat([this.#before, bytes.subarray(0, OVERLAP)]);
    if (NEEDLES.some((needle) => bytes.includes(needle) || seam.includes(needle))) return true;
    this.#before = bytes.length < OVERLAP ? seam.subarray(-OVERLAP) : Buffer.from(bytes.subarray(-OVERLAP));
    return false;
  }
}
