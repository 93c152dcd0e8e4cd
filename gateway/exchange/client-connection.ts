import type { AdmittedConnection } from "../../lib/connection-limits.ts";
import type { Fault } from "../../lib/fault.ts";
import type { AccessRecord } from "../access-record.ts";
import type { DirectResponse, ClientPeer } from "../decision.ts";
import { MessageRefused } from "../http1/message-reader.ts";
import { type NetConnection, type ConnectionUser, NO_USER } from "../connections/connection.ts";
import { refusalFault } from "../direct-responses.ts";
import { SHORT_IDLE_MS } from "../limits.ts";
import { Exchange } from "./exchange.ts";
import { probeHalfOpen } from "../connections/closing.ts";
import { ClientClock, type ExchangeClient } from "./exchange-client.ts";
import { CLIENT } from "./client-machine.ts";
import type { EngineContext } from "./engine-context.ts";
import { RequestInput } from "./request-input.ts";
import { ResponseWriter } from "./response-writer.ts";
import { actionsOf, has, stateOf } from "./state-machine.ts";
import type { Ticking } from "../../lib/clock.ts";

const { state: STATE, event: EVENT, action: ACTION } = CLIENT;

/** Bytes that a client has not taken, beyond which its next request is not read. */
const MAX_BACKLOG = 262_144;
/** Bytes of a request are awaited. */
const INCOMPLETE: ReadonlySet<number> = new Set([STATE.IDLE, STATE.HEAD, STATE.BODY, STATE.DROP]);
const CLIENT_LEFT = new Error("the client left");

type ClientConnectionOptions = {
  admission: Pick<AdmittedConnection, "crowded">;
  forget(client: ClientConnection): void;
  /** What the client speaks. */
  protocol?: AccessRecord["protocol"];
};

/** One connection of a client: its requests are read and answered one after another, by the table in client-machine.ts. */
export class ClientConnection implements ExchangeClient, ConnectionUser, Ticking {
  readonly connection: NetConnection;
  readonly context: EngineContext;
  readonly peer: ClientPeer;
  readonly tls: boolean;
  readonly writer: ResponseWriter;
  readonly clock: ClientClock;
  readonly protocol: AccessRecord["protocol"];
  readonly #input: RequestInput;
  readonly #forget: (client: ClientConnection) => void;
  readonly #admission: Pick<AdmittedConnection, "crowded">;
  #left: AbortController | undefined;
  #state = STATE.IDLE;
  #exchange: Exchange | undefined;
  /** Why bytes are not read as a request. */
  #refusal: Fault | undefined;
  #reading = false;
  /** Bytes of the request's body that will be moved to its container, and not read. */
  #toMove = 0;
  #ended = false;

  constructor(connection: NetConnection, context: EngineContext, { admission, forget, protocol = "http1" }: ClientConnectionOptions) {
    this.connection = connection;
    this.context = context;
    this.#forget = forget;
    this.#admission = admission;
    this.protocol = protocol;
    this.#input = new RequestInput(context.http1.requests());
    this.writer = new ResponseWriter(connection);
    this.peer = { address: connection.remoteAddress };
    this.tls = connection.tls;
    this.clock = new ClientClock(context.ticker);
    // The first head has the time limit of one that has begun.
    this.clock.start(context.draining.begun ? SHORT_IDLE_MS : context.limits.headersTimeoutMs);
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

  get isHeldByContainer(): boolean {
    return this.connection.paused || (this.#toMove > 0 && (this.#exchange?.requestReceiver?.backlog ?? 0) > 0);
  }

  onBytes(memory: Buffer, at: number, end: number): void {
    this.clock.noteProgress();
    this.#toMove = 0;
    this.#read(memory, at, end);
  }

  onMoved(bytes: number): void {
    this.clock.noteProgress();
    this.#toMove -= bytes;
    this.#input.skip(bytes);
    this.#exchange?.countBody(bytes);
  }

  onDrain(): void {
    if (this.#exchange !== undefined) this.#exchange.onClientDrain();
    else if (this.#state === STATE.IDLE && this.#input.keptBytes > 0) this.#readKept();
  }

  onEnd(): void {
    this.#ended = true;
    // Kept requests wait until the client takes the responses before them.
    if (this.#state !== STATE.IDLE || this.#input.keptBytes === 0) this.#endInput();
  }

  onClose(): void {
    this.#input.close();
    this.#forget(this);
    this.#left?.abort(CLIENT_LEFT);
    this.#step(EVENT.closed);
  }

  tick(now: number): void {
    if (this.clock.isOver(now)) this.#endClock();
    else if (this.#state === STATE.IDLE && this.clock.isIdle(this.connection, SHORT_IDLE_MS) && this.#admission.crowded) this.#step(EVENT.crowded);
    // While the container takes nothing, no event reports that the client is gone.
    else if (this.#exchange !== undefined && this.isHeldByContainer && this.connection.isBroken()) this.#step(this.#leaving);
    else this.#exchange?.tick(now);
  }

  /** The gateway is about to close: an idle client may send one more request. */
  drain(): void {
    this.#step(EVENT.draining);
  }

  // The exchange.

  resume(): void {
    if (!this.#input.isFull) this.connection.resume();
  }

  respond(answer: DirectResponse): void {
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    const { head, record } = exchange;
    // After `Expect: 100-continue` a body may follow or not, and after a WebSocket's request its frames: the next bytes are ambiguous.
    const isAmbiguous = head.websocket || (this.#state === STATE.BODY && head.expectsContinue);
    const last = answer.close === true || isAmbiguous || this.closesAfter(head.persistent);
    this.writer.sendAnswer(answer, record, { last, request: head });
    this.exchangeOver(last);
  }

  closesAfter(persistent: boolean): boolean {
    return !persistent || this.#finished || this.context.draining.begun || this.#admission.crowded;
  }

  exchangeOver(last: boolean): void {
    this.#endExchange("answered");
    this.#step(last || this.#finished ? EVENT.answeredLast : EVENT.answered);
  }

  cut(): void {
    this.#endExchange("cut");
    this.#step(EVENT.cut);
  }

  breakOff(): void {
    this.#endExchange("cut");
    this.#step(EVENT.brokenOff);
  }

  handOver(): Buffer {
    this.#exchange = undefined;
    this.#step(EVENT.handedOver);
    this.#input.close();
    this.#forget(this);
    this.connection.user = NO_USER;
    this.connection.pause();
    if (this.#ended) this.connection.destroy();
    return this.#input.takeKept();
  }

  // Requests.

  #read(memory: Buffer, from: number, end: number): void {
    this.#reading = true;
    try {
      for (let at = from; at !== -1 && at < end;) at = this.#readOn(memory, at, end);
    } catch (error) {
      if (!(error instanceof MessageRefused)) throw error;
      this.#refusal = refusalFault(error.status, error.message);
      this.#step(EVENT.refused);
    } finally {
      this.#reading = false;
      this.#input.dropHead();
    }
  }

  /** Returns where to read on, or -1. */
  #readOn(memory: Buffer, at: number, end: number): number {
    switch (this.#state) {
      case STATE.IDLE:
      case STATE.HEAD:
        return this.#readHead(memory, at, end);
      case STATE.BODY:
      case STATE.DROP:
      case STATE.DROP_LAST:
        return this.#readBody(memory, at, end);
      case STATE.WAIT:
        this.#keep(memory, at, end);
        return -1;
      default:
        return -1;
    }
  }

  #readHead(memory: Buffer, at: number, end: number): number {
    // A client that does not take responses is not read. Kept bytes come first.
    if (this.#input.keptBytes > 0 || this.connection.backlog > MAX_BACKLOG) {
      this.#keep(memory, at, end);
      this.connection.pause();
      return -1;
    }
    const bodyAt = this.#input.readHead(memory, at, end);
    if (bodyAt === -1) {
      if (this.#input.begun) this.#step(EVENT.headBegan);
      return -1;
    }
    const head = this.#input.takeHead();
    // The bytes after the head belong to the other protocol.
    if (head.websocket) this.#keep(memory, bodyAt, end);
    this.#exchange = new Exchange(this, head);
    this.#step(head.bodyKind === "none" ? EVENT.requestCame : EVENT.requestCameOpen);
    return head.websocket ? -1 : bodyAt;
  }

  #readBody(memory: Buffer, at: number, end: number): number {
    const over = this.#input.bodyEnd(memory, at, end);
    if (this.#state === STATE.BODY) this.#exchange?.sendBody(memory, at, over === -1 ? end : over);
    if (over !== -1) this.#step(EVENT.requestEnded);
    else if (this.#state === STATE.BODY) this.#moveRest();
    return over;
  }

  #moveRest(): void {
    const receiver = this.#exchange?.requestReceiver;
    // The last byte is read, and with it whatever follows the body.
    const bytes = this.#input.bodyLeft - 1;
    if (receiver !== undefined && this.connection.moveTo(receiver, bytes)) this.#toMove = bytes;
  }

  #keep(memory: Buffer, at: number, end: number): void {
    this.#input.keep(memory, at, end);
    if (this.#input.isFull) this.connection.pause();
  }

  #readNext(): void {
    // It may be paused because its container did not take the end of the request.
    if (this.#input.keptBytes === 0 && this.connection.paused) this.connection.resume();
    if (this.#input.keptBytes > 0 && !this.#reading && this.connection.backlog <= MAX_BACKLOG) this.#readKept();
  }

  #readKept(): void {
    const kept = this.#input.takeKept();
    this.connection.resume();
    this.#read(kept, 0, kept.length);
    // What is incomplete will never be complete.
    if (this.#finished && INCOMPLETE.has(this.#state)) this.#endInput();
  }

  /** A client that ends within its request wants no response, and a WebSocket has no half-open state; another response to its request may be read whole. */
  #endInput(): void {
    const exchange = this.#exchange;
    if (this.#state === STATE.BODY || (exchange?.head.websocket === true && !exchange.responding)) this.#step(this.#leaving);
    else this.#step(EVENT.ended);
  }

  get #leaving(): number {
    return this.#exchange?.isUnframed === true ? EVENT.leftUnframed : EVENT.left;
  }

  /** No request follows: the client has ended its direction and no kept bytes are left, or its bytes are not HTTP. */
  get #finished(): boolean {
    return this.#refusal !== undefined || (this.#ended && this.#input.keptBytes === 0);
  }

  #endExchange(ending: "answered" | "left" | "cut"): Exchange | undefined {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.record.finish(ending);
    return exchange;
  }

  #endClock(): void {
    const { limits } = this.context;
    if (this.#state === STATE.HEAD) this.#refusal = refusalFault(408, "The head of the request did not come in time");
    else if (this.clock.isTaking(this.connection, limits.idleTimeoutMs))
      return this.clock.start(this.#state === STATE.IDLE ? limits.keepAliveTimeoutMs : limits.lingeringCloseMs);
    this.#step(EVENT.timedOut);
  }

  #step(event: number): void {
    const step = CLIENT.next(this.#state, event);
    this.#state = stateOf(step);
    this.#execute(actionsOf(step));
  }

  /** In the order of the table's actions. */
  #execute(actions: number): void {
    const { connection, context, clock } = this;
    const { limits, draining } = context;
    if (has(actions, ACTION.startHeadClock)) clock.start(limits.headersTimeoutMs);
    if (has(actions, ACTION.startIdleClock)) clock.start(draining.begun ? SHORT_IDLE_MS : limits.keepAliveTimeoutMs);
    if (has(actions, ACTION.startCloseClock)) clock.start(limits.lingeringCloseMs);
    if (has(actions, ACTION.stopClock)) clock.stop();
    if (has(actions, ACTION.resume)) connection.resume();
    if (has(actions, ACTION.answerRefusal)) this.writer.sendRefusal(context, this.peer, this.#refusal);
    if (has(actions, ACTION.end)) connection.end();
    if (has(actions, ACTION.reset)) connection.reset();
    if (has(actions, ACTION.destroy)) connection.destroy();
    if (has(actions, ACTION.probe)) probeHalfOpen(connection, () => this.#exchange, context.clock);
    if (has(actions, ACTION.begin)) this.#exchange?.begin();
    if (has(actions, ACTION.endRequest)) this.#exchange?.endRequest();
    if (has(actions, ACTION.failExchange)) this.#exchange?.fail(this.#refusal);
    if (has(actions, ACTION.abandonExchange)) this.#endExchange("left")?.abandon();
    if (has(actions, ACTION.readNext)) this.#readNext();
  }
}
