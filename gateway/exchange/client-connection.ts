import type { AdmittedConnection } from "../../lib/connection-limits.ts";
import type { DirectResponse, ClientPeer } from "../decision.ts";
import { AccessRecord } from "../access-record.ts";
import { MessageRefused, type RequestReader } from "../http1/message-reader.ts";
import type { Connection, ConnectionUser } from "../connections/connection.ts";
import { responseBytes, refusalFault } from "../direct-responses.ts";
import { Exchange } from "./exchange.ts";
import { probeHalfOpen } from "../connections/closing.ts";
import type { ExchangeClient, EngineContext } from "./engine-context.ts";
import type { Ticking } from "../../lib/clock.ts";

/**
 * - `head`: between two requests, or within a head;
 * - `body`: within a body, which goes to the exchange;
 * - `wait`: the request is complete, its response is not; received bytes belong to the next request, or after an upgrade request to the other protocol;
 * - `drop`: the response was sent early; the rest of the body is read and discarded, so that the client reads the response;
 * - `closing`: nothing more is sent, and received bytes are discarded;
 * - `upgraded`: handed over.
 */
type ClientState = "head" | "body" | "wait" | "drop" | "closing" | "upgraded";

/** Bytes of later requests, or of another protocol, that are kept until the current response is complete. */
const KEPT_BYTES = 65_536;
/** Bytes that a client has not taken, beyond which its next request is not read. */
const MAX_BACKLOG = 262_144;
/** While the gateway drains, an idle connection stays open for this long: its next request may already have been sent. */
export const DRAIN_IDLE_MS = 1_000;
const NEVER = Number.POSITIVE_INFINITY;

const CLIENT_LEFT = new Error("the client left");

/** One connection of a client: its requests are read and answered one after another. */
export class ClientConnection implements ExchangeClient, ConnectionUser, Ticking {
  readonly connection: Connection;
  readonly context: EngineContext;
  readonly peer: ClientPeer;
  readonly tls: boolean;
  lastByteAt: number;
  readonly #reader: RequestReader;
  readonly #forget: (client: ClientConnection) => void;
  /** What the client speaks. */
  readonly #protocol: AccessRecord["protocol"];
  readonly #admission: Pick<AdmittedConnection, "crowded">;
  #left: AbortController | undefined;
  #state: ClientState = "head";
  #exchange: Exchange | undefined;
  #bodyLeft = 0;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #processing = false;
  /** The client has ended its direction. */
  #ended = false;
  #deadline: number;
  /** `#deadline` is for a head that has begun. */
  #headClock = false;
  #closeAfterDrop = false;
  #backlogSeen = 0;

  constructor(
    connection: Connection,
    context: EngineContext,
    {
      admission,
      forget,
      protocol = "http1",
    }: { admission: Pick<AdmittedConnection, "crowded">; forget: (client: ClientConnection) => void; protocol?: AccessRecord["protocol"] },
  ) {
    this.connection = connection;
    this.context = context;
    this.#forget = forget;
    this.#admission = admission;
    this.#protocol = protocol;
    this.#reader = context.http1.requests();
    this.peer = { address: connection.remoteAddress };
    this.tls = connection.tls;
    this.lastByteAt = context.ticker.now;
    // The first head has the time limit of one that has begun.
    this.#deadline = context.ticker.now + (context.draining.begun ? DRAIN_IDLE_MS : context.limits.headersTimeoutMs);
    connection.user = this;
    connection.resume();
  }

  /** Created on first access. */
  get signal(): AbortSignal {
    this.#left ??= new AbortController();
    if (this.gone) this.#left.abort(CLIENT_LEFT);
    return this.#left.signal;
  }

  get gone(): boolean {
    return !this.connection.alive;
  }

  onBytes(memory: Buffer, at: number, end: number): void {
    this.lastByteAt = this.context.ticker.now;
    this.#process(memory, at, end);
  }

  onDrain(): void {
    if (this.#exchange !== undefined) return this.#exchange.onClientDrain();
    if (this.#state === "head" && this.#keptBytes > 0) this.#processKept();
  }

  onEnd(): void {
    this.#ended = true;
    // Kept requests wait until it takes the responses before them.
    if (this.#state === "head" && this.#keptBytes > 0) return;
    if (this.#state === "head" || this.#state === "drop") return this.#close();
    if (this.#state === "closing") return;
    const exchange = this.#exchange;
    // A client that ends within its request wants no response, and a WebSocket has no half-open state.
    if (this.#state === "body" || exchange === undefined || exchange.head.websocket) return this.connection.destroy();
    probeHalfOpen(this.connection, () => this.#exchange, this.context.clock);
  }

  onClose(): void {
    this.#reader.close();
    this.#forget(this);
    this.#state = "closing";
    this.#kept = [];
    this.#left?.abort(CLIENT_LEFT);
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.onClientGone();
    exchange?.record.finish("left");
  }

  tick(now: number): void {
    if (now >= this.#deadline) return this.#late();
    // An idle connection gives way to others.
    if (
      this.#state === "head" &&
      !this.#headClock &&
      now - this.lastByteAt >= DRAIN_IDLE_MS &&
      this.connection.backlog === 0 &&
      this.#admission.crowded
    )
      return this.#close();
    // While the connection is paused, no event reports that the client is gone.
    if (this.#exchange !== undefined && this.connection.paused && this.connection.isBroken()) return this.connection.destroy();
    this.#exchange?.tick(now);
  }

  /** The gateway is about to close: an idle client may send one more request. */
  drain(): void {
    if (this.#state === "head" && !this.#headClock) this.#deadline = Math.min(this.#deadline, this.context.ticker.now + DRAIN_IDLE_MS);
  }

  resume(): void {
    if (this.#keptBytes < KEPT_BYTES) this.connection.resume();
  }

  /** `close`: the framing of later bytes is not certain. */
  respond(answer: DirectResponse, close = false): void {
    const head = this.#exchange?.head;
    const bodyless = head?.method === "HEAD";
    // A client that waits for 100 Continue may or may not send its body, and one that requested a WebSocket may have begun to use it: its next bytes
    // are ambiguous.
    const ambiguous = head?.websocket === true || (this.#state === "body" && head?.expectsContinue === true);
    const closing = close || answer.close === true || ambiguous || this.closing(head?.persistent ?? false);
    const bytes = responseBytes(answer, { bodyless, connection: closing ? "close" : head?.minorVersion === 0 ? "keep-alive" : undefined });
    this.connection.sendOwn(bytes);
    // Without an exchange: a response to bytes that are not a request.
    const record = this.#exchange?.record ?? new AccessRecord(this.context.watch, this.context.clock, undefined, this.peer.address);
    record.status = answer.status;
    record.bytesOut += bytes.length;
    if (this.#exchange === undefined) record.finish("answered");
    this.exchangeOver(closing);
  }

  closing(persistent: boolean): boolean {
    return !persistent || this.#finished || this.context.draining.begun || this.#admission.crowded;
  }

  exchangeOver(closing: boolean): void {
    this.#exchange?.record.finish("answered");
    this.#exchange = undefined;
    if (this.#state === "body") {
      this.#state = "drop";
      this.#closeAfterDrop = closing;
      this.#deadline = this.context.ticker.now + this.context.limits.lingeringCloseMs;
      if (closing) this.connection.end();
      this.connection.resume();
      return;
    }
    if (closing) return this.#close();
    this.#toHead();
    // It may be paused because its container did not take the end of the request.
    if (this.#keptBytes === 0 && this.connection.paused) this.connection.resume();
    if (this.#keptBytes === 0 || this.#processing || this.connection.backlog > MAX_BACKLOG) return;
    this.#processKept();
  }

  cut(): void {
    this.#exchange?.record.finish("cut");
    this.#exchange = undefined;
    this.#state = "closing";
    this.connection.reset();
  }

  breakOff(): void {
    this.#exchange?.record.finish("cut");
    this.#exchange = undefined;
    this.#close();
  }

  handOver(): Buffer {
    this.#state = "upgraded";
    this.#exchange = undefined;
    this.#reader.close();
    this.#forget(this);
    const early = Buffer.concat(this.#kept);
    this.#kept = [];
    this.connection.pause();
    this.connection.onceClosed(() => this.#left?.abort(CLIENT_LEFT));
    if (this.#ended) this.connection.destroy();
    return early;
  }

  #process(memory: Buffer, from: number, end: number): void {
    let at = from;
    this.#processing = true;
    try {
      while (at < end) {
        if (this.#state === "head") {
          // A client that does not take responses is not read. Kept bytes come first.
          if (this.connection.backlog > MAX_BACKLOG || this.#keptBytes > 0) {
            this.#keep(memory, at, end);
            this.connection.pause();
            break;
          }
          at = this.#reader.readHead(memory, at, end);
          if (at === -1) {
            this.#startHeadClock();
            break;
          }
          // Bytes after the head belong to the other protocol.
          const isUpgrade = this.#reader.head.websocket;
          if (isUpgrade) this.#keep(memory, at, end);
          this.#begin();
          if (isUpgrade) break;
        } else if (this.#state === "body" || this.#state === "drop") {
          const bodyEnd = this.#bodyEnd(memory, at, end);
          const stop = bodyEnd === -1 ? end : bodyEnd;
          if (this.#state === "body") this.#exchange?.sendBody(memory, at, stop);
          at = stop;
          if (bodyEnd !== -1) this.#bodyOver();
        } else if (this.#state === "wait") {
          this.#keep(memory, at, end);
          break;
        } else break;
      }
    } catch (error) {
      if (!(error instanceof MessageRefused)) throw error;
      this.#refuse(error);
    } finally {
      this.#processing = false;
      this.#reader.dropHead();
    }
  }

  #begin(): void {
    const { head } = this.#reader;
    // The exchange lives longer than these bytes.
    head.keep();
    this.#headClock = false;
    this.#deadline = NEVER;
    this.#bodyLeft = head.bodyKind === "length" ? head.bodyLength : -1;
    const bodyless = head.bodyKind === "none";
    this.#state = bodyless ? "wait" : "body";
    const exchange = new Exchange(this, head);
    this.#exchange = exchange;
    exchange.record.protocol = this.#protocol;
    if (bodyless) exchange.requestOver = true;
    exchange.begin();
  }

  /** The offset after the body's end, or -1 if the whole rest belongs to it. */
  #bodyEnd(memory: Buffer, at: number, end: number): number {
    if (this.#bodyLeft === -1) return this.#reader.readChunked(memory, at, end);
    const available = end - at;
    if (available < this.#bodyLeft) {
      this.#bodyLeft -= available;
      return -1;
    }
    return at + this.#bodyLeft;
  }

  #bodyOver(): void {
    if (this.#state === "drop") {
      if (this.#closeAfterDrop) this.#close();
      else this.#toHead();
      return;
    }
    this.#state = "wait";
    this.#exchange?.bodyOver();
  }

  #keep(memory: Buffer, at: number, end: number): void {
    if (at === end) return;
    this.#kept.push(Buffer.from(memory.subarray(at, end)));
    this.#keptBytes += end - at;
    if (this.#keptBytes >= KEPT_BYTES) this.connection.pause();
  }

  #processKept(): void {
    const kept = this.#kept.length === 1 ? (this.#kept[0] as Buffer) : Buffer.concat(this.#kept);
    this.#kept = [];
    this.#keptBytes = 0;
    this.connection.resume();
    this.#process(kept, 0, kept.length);
    // An incomplete request that will never be complete.
    if (this.#state === "head" && this.#finished) this.#close();
  }

  /** The client has ended its direction, and no kept bytes are left. */
  get #finished(): boolean {
    return this.#ended && this.#keptBytes === 0;
  }

  #toHead(): void {
    if (this.#finished) return this.#close();
    this.#state = "head";
    const { ticker, limits } = this.context;
    this.#deadline = ticker.now + (this.context.draining.begun ? DRAIN_IDLE_MS : limits.keepAliveTimeoutMs);
  }

  #startHeadClock(): void {
    if (this.#headClock) return;
    this.#headClock = true;
    this.#deadline = this.context.ticker.now + this.context.limits.headersTimeoutMs;
  }

  #refuse(refused: MessageRefused): void {
    const exchange = this.#exchange;
    // Within a body, whose end is then unknown.
    exchange?.abandon();
    if (exchange?.responding === true) return this.cut();
    this.#state = "wait";
    const fault = refusalFault(refused.status, refused.message);
    this.respond(exchange?.forward?.respondTo(fault) ?? this.context.refusal(fault), true);
  }

  /** `#deadline` has passed. */
  #late(): void {
    const begun = this.#state === "head" && this.#headClock && this.#reader.begun;
    if (!begun && this.#isTaking()) {
      const { ticker, limits } = this.context;
      this.#deadline = ticker.now + (this.#state === "head" ? limits.keepAliveTimeoutMs : limits.lingeringCloseMs);
      return;
    }
    this.#deadline = NEVER;
    if (begun) {
      this.#state = "wait";
      this.respond(this.context.refusal(refusalFault(408, "The head of the request did not come in time")), true);
    } else if (this.#state === "head") this.#close();
    else this.connection.destroy();
  }

  /** The client still takes queued bytes. A slow client is not idle, unless it takes nothing for the idle timeout. */
  #isTaking(): boolean {
    const { backlog } = this.connection;
    if (backlog === 0) return false;
    const { ticker, limits } = this.context;
    if (backlog !== this.#backlogSeen) this.lastByteAt = ticker.now;
    this.#backlogSeen = backlog;
    return limits.idleTimeoutMs === 0 || ticker.now - this.lastByteAt < limits.idleTimeoutMs;
  }

  #close(): void {
    if (this.#state === "closing") return;
    this.#state = "closing";
    this.#deadline = this.context.ticker.now + this.context.limits.lingeringCloseMs;
    this.connection.end();
    if (this.#ended) this.#deadline = this.context.ticker.now + this.context.limits.lingeringCloseMs;
    this.connection.resume();
  }
}
