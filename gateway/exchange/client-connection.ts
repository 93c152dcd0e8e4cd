import type { AdmittedConnection } from "../../lib/connection-limits.ts";
import type { DirectResponse, ClientPeer } from "../decision.ts";
import { AccessRecord } from "../access-record.ts";
import { MessageRefused, type RequestReader } from "../http1/message-reader.ts";
import type { NetConnection, NetConnectionUser } from "../connections/connection.ts";
import { isBroken } from "../connections/outbox.ts";
import { responseBytes, refusalFault } from "../direct-responses.ts";
import { Exchange } from "./exchange.ts";
import { probeHalfOpen } from "../connections/closing.ts";
import type { ExchangeClient, EngineContext } from "./engine-context.ts";
import type { Ticking } from "../../lib/clock.ts";

/**
 * Where a client's connection is:
 * - `head`: between two requests, or within a head;
 * - `body`: within a body, which goes to the exchange;
 * - `wait`: the request is complete and its answer is not; what comes is the next request's, or for who asked for an upgrade the other protocol's;
 * - `drop`: answered already; what remains of the body is read and thrown away, so that the client gets to see the answer;
 * - `closing`: nothing more is sent, and nothing is taken;
 * - `upgraded`: others have it.
 */
type State = "head" | "body" | "wait" | "drop" | "closing" | "upgraded";

/** How much of the next requests is kept while one is answered, and of another protocol while its request is decided on or waits. */
const KEPT_BYTES = 65_536;
/** How much may wait to be taken by a client before its next request is read. */
const MOST_BACKLOG = 262_144;
/** A client that keeps its connection, or has just opened one, is given this long to use it once more, when the gateway is about to end. */
export const DRAIN_IDLE_MS = 1_000;
const NEVER = Number.POSITIVE_INFINITY;

const LEFT = new Error("the client left");

/** One connection of a client: reads its requests one after another, and lets each be answered before the next. */
export class ClientConnection implements ExchangeClient, NetConnectionUser, Ticking {
  readonly connection: NetConnection;
  readonly context: EngineContext;
  readonly peer: ClientPeer;
  readonly tls: boolean;
  /** When bytes last went either way, on the ticker's scale. */
  lastByteAt: number;
  readonly #reader: RequestReader;
  readonly #forget: (side: ClientConnection) => void;
  readonly #admission: Pick<AdmittedConnection, "crowded">;
  #left: AbortController | undefined;
  #state: State = "head";
  #exchange: Exchange | undefined;
  #bodyLeft = 0;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #taking = false;
  /** The client has said all it will say. */
  #ended = false;
  #deadline: number;
  /** Whether `#deadline` is for a head that has begun. */
  #headClock = false;
  #closeAfterDrop = false;
  #backlogSeen = 0;

  constructor(
    link: NetConnection,
    parts: EngineContext,
    { admission, forget }: { admission: Pick<AdmittedConnection, "crowded">; forget: (side: ClientConnection) => void },
  ) {
    this.connection = link;
    this.context = parts;
    this.#forget = forget;
    this.#admission = admission;
    this.#reader = parts.http1.requests();
    const { socket } = link;
    this.peer = { address: (socket.remoteAddress ?? "").replace(/^::ffff:/, "") };
    this.tls = "encrypted" in socket;
    this.lastByteAt = parts.ticker.now;
    // The first head has to come as one does that has begun.
    this.#deadline = parts.ticker.now + (parts.draining.begun ? DRAIN_IDLE_MS : parts.limits.headersTimeoutMs);
    link.user = this;
    link.resume();
  }

  /** Aborts when the client is gone; made when somebody first wants to know. */
  get signal(): AbortSignal {
    this.#left ??= new AbortController();
    if (this.gone) this.#left.abort(LEFT);
    return this.#left.signal;
  }

  get gone(): boolean {
    return !this.connection.alive;
  }

  /** True where a request is under way. */
  get busy(): boolean {
    return this.#state !== "head" || this.#reader.begun;
  }

  onBytes(chunk: Buffer): void {
    this.lastByteAt = this.context.ticker.now;
    this.#take(chunk);
  }

  onDrain(): void {
    if (this.#exchange !== undefined) return this.#exchange.onClientDrain();
    if (this.#state === "head" && this.#keptBytes > 0) this.#takeKept();
  }

  onEnd(): void {
    this.#ended = true;
    // What it sent before waits until it takes what it was answered.
    if (this.#state === "head" && this.#keptBytes > 0) return;
    if (this.#state === "head" || this.#state === "drop") return this.#close();
    if (this.#state === "closing") return;
    const exchange = this.#exchange;
    // Who ends within a request wants no answer to it, and a WebSocket has no half-open state.
    if (this.#state === "body" || exchange === undefined || exchange.head.websocket) return this.connection.destroy();
    probeHalfOpen(this.connection, () => this.#exchange, this.context.clock);
  }

  onClose(): void {
    this.#reader.close();
    this.#forget(this);
    this.#state = "closing";
    this.#kept = [];
    this.#left?.abort(LEFT);
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.onClientGone();
    exchange?.record.finish("left");
  }

  tick(now: number): void {
    if (now >= this.#deadline) return this.#late();
    // Who is between two requests makes room for who has one.
    if (
      this.#state === "head" &&
      !this.#headClock &&
      now - this.lastByteAt >= DRAIN_IDLE_MS &&
      this.connection.backlog === 0 &&
      this.#admission.crowded
    )
      return this.#close();
    // Who is not read for a while, since nobody takes what it sends, is not heard to leave.
    if (this.#exchange !== undefined && this.connection.paused && isBroken(this.connection.socket)) return this.connection.destroy();
    this.#exchange?.tick(now);
  }

  /** The gateway is about to end: whoever is between two requests may send one more, and then goes elsewhere. */
  drain(): void {
    if (this.#state === "head" && !this.#headClock) this.#deadline = Math.min(this.#deadline, this.context.ticker.now + DRAIN_IDLE_MS);
  }

  /** Reads on: the container takes more of the body. */
  resume(): void {
    if (this.#keptBytes < KEPT_BYTES) this.connection.resume();
  }

  /** Answers in the container's place; `close` where nothing that follows on the connection can be trusted. */
  respond(answer: DirectResponse, close = false): void {
    const head = this.#exchange?.head;
    const bodyless = head?.method === "HEAD";
    // A client that waits for 100 Continue may send its body or not; one that requested a WebSocket may have begun to use it: nothing
    // can tell what its next bytes are.
    const unclear = head?.websocket === true || (this.#state === "body" && head?.expectsContinue === true);
    const closing = close || answer.close === true || unclear || this.closing(head?.persistent ?? false);
    const bytes = responseBytes(answer, { bodyless, connection: closing ? "close" : head?.minorVersion === 0 ? "keep-alive" : undefined });
    this.connection.send(bytes);
    // Bytes that were no request are answered too.
    const record = this.#exchange?.record ?? new AccessRecord(this.context.watch, this.context.clock, undefined, this.peer.address);
    record.status = answer.status;
    record.bytesOut += bytes.length;
    if (this.#exchange === undefined) record.finish("answered");
    this.exchangeOver(closing);
  }

  /** Whether the connection ends with the answer that is about to begin. */
  closing(persistent: boolean): boolean {
    return !persistent || this.#saidAll || this.context.draining.begun || this.#admission.crowded;
  }

  /** The answer was sent as a whole. */
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
    // It may have waited for its container to take the end of a request, which nobody will take now.
    if (this.#keptBytes === 0 && this.connection.paused) this.connection.resume();
    if (this.#keptBytes === 0 || this.#taking || this.connection.backlog > MOST_BACKLOG) return;
    this.#takeKept();
  }

  /** Cuts the connection so that the client cannot take what it has for the whole. */
  cut(): void {
    this.#exchange?.record.finish("cut");
    this.#exchange = undefined;
    this.#state = "closing";
    this.connection.reset();
  }

  /** Ends it where what is missing shows by itself: the announced length, or the last chunk. */
  breakOff(): void {
    this.#exchange?.record.finish("cut");
    this.#exchange = undefined;
    this.#close();
  }

  /** Hands the connection to those who speak the other protocol: what came behind the request's head. */
  handOver(): Buffer {
    this.#state = "upgraded";
    this.#exchange = undefined;
    this.#reader.close();
    this.#forget(this);
    const early = Buffer.concat(this.#kept);
    this.#kept = [];
    this.connection.pause();
    this.connection.socket.once("close", () => this.#left?.abort(LEFT));
    if (this.#ended) this.connection.destroy();
    return early;
  }

  #take(chunk: Buffer): void {
    let at = 0;
    this.#taking = true;
    try {
      while (at < chunk.length) {
        if (this.#state === "head") {
          // Who sends requests and does not take the answers is not read until it does; and what came before is read first.
          if (this.connection.backlog > MOST_BACKLOG || this.#keptBytes > 0) {
            this.#keep(chunk, at);
            this.connection.pause();
            break;
          }
          at = this.#reader.readHead(chunk, at);
          if (at === -1) {
            this.#startHeadClock();
            break;
          }
          // Who takes the connection over gets what came with the head, too.
          const early = this.#reader.head.websocket;
          if (early) this.#keep(chunk, at);
          this.#begin();
          if (early) break;
        } else if (this.#state === "body" || this.#state === "drop") {
          const end = this.#bodyEnd(chunk, at);
          const stop = end === -1 ? chunk.length : end;
          if (this.#state === "body") this.#exchange?.sendBody(at === 0 && stop === chunk.length ? chunk : chunk.subarray(at, stop));
          at = stop;
          if (end !== -1) this.#bodyOver();
        } else if (this.#state === "wait") {
          this.#keep(chunk, at);
          break;
        } else break;
      }
    } catch (error) {
      if (!(error instanceof MessageRefused)) throw error;
      this.#refuse(error);
    } finally {
      this.#taking = false;
    }
  }

  #begin(): void {
    const { head } = this.#reader;
    this.#reader.dropHead();
    this.#headClock = false;
    this.#deadline = NEVER;
    this.#bodyLeft = head.bodyKind === "length" ? head.bodyLength : -1;
    const bodyless = head.bodyKind === "none";
    this.#state = bodyless ? "wait" : "body";
    const exchange = new Exchange(this, head);
    this.#exchange = exchange;
    if (bodyless) exchange.requestOver = true;
    exchange.begin();
  }

  /** The offset behind the body's end in `chunk`, or -1 where all of the rest belongs to it. */
  #bodyEnd(chunk: Buffer, at: number): number {
    if (this.#bodyLeft === -1) return this.#reader.readChunked(chunk, at);
    const here = chunk.length - at;
    if (here < this.#bodyLeft) {
      this.#bodyLeft -= here;
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

  #keep(chunk: Buffer, at: number): void {
    const bytes = chunk.subarray(at);
    if (bytes.length === 0) return;
    this.#kept.push(this.connection.volatile ? Buffer.from(bytes) : bytes);
    this.#keptBytes += bytes.length;
    if (this.#keptBytes >= KEPT_BYTES) this.connection.pause();
  }

  #takeKept(): void {
    const kept = this.#kept.length === 1 ? (this.#kept[0] as Buffer) : Buffer.concat(this.#kept);
    this.#kept = [];
    this.#keptBytes = 0;
    this.connection.resume();
    this.#take(kept);
    // A piece of a request, and no more of it to come.
    if (this.#state === "head" && this.#saidAll) this.#close();
  }

  /** The client has ended, and nothing of what it sent before is left. */
  get #saidAll(): boolean {
    return this.#ended && this.#keptBytes === 0;
  }

  #toHead(): void {
    if (this.#saidAll) return this.#close();
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
    // Within a body: nobody can tell where it ends.
    exchange?.abandon();
    if (exchange?.responding === true) return this.cut();
    this.#state = "wait";
    const fault = refusalFault(refused.status, refused.message);
    this.respond(exchange?.forward?.respondTo(fault) ?? this.context.refusal(fault), true);
  }

  /** A time limit of the connection's own has passed. */
  #late(): void {
    const begun = this.#state === "head" && this.#headClock && this.#reader.begun;
    if (!begun && this.#stillTakes()) {
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

  /** What was sent already waits to be taken: a client that is slow is not silent, unless it takes nothing for as long as an exchange may idle. */
  #stillTakes(): boolean {
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
