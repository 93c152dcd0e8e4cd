import { isSafe } from "../../lib/browser-requests.ts";
import { Fault } from "../../lib/fault.ts";
import { internalFault } from "../direct-responses.ts";
import type { IncomingRequest, Decision, InterceptingForward, Interception, ClientPeer } from "../decision.ts";
import { AccessRecord } from "../access-record.ts";
import { MessageRefused, type RequestHead, type ResponseHead } from "../http1/message-reader.ts";
import type { NetConnection } from "../connections/connection.ts";
import { brokeOff } from "../connections/dial.ts";
import { stalledBody } from "../limits.ts";
import { ContainerSide, type ContainerSideUser } from "./container-side.ts";
import type { ExchangeClient } from "./exchange-client.ts";
import { EXCHANGE } from "./machine.ts";
import { actionsOf, has, stateOf } from "./state-machine.ts";
import { acceptUpgrade, refuseUpgrade, switchProtocols } from "./upgrade.ts";

const { state: STATE, event: EVENT, action: ACTION } = EXCHANGE;

/** Repeating one of these changes nothing (RFC 9110 §9.2.2). */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);
/** How often responses of one request may be replaced. */
const MAX_INTERCEPTIONS = 4;
const NEVER = Number.POSITIVE_INFINITY;
const NO_BYTES = Buffer.alloc(0);
/**
 * One request and its response. This class turns what comes from the client, the container, the lease and the clock into events of the table in
 * machine.ts, and executes the actions of its rows. What else a row depends on, this class shows by different events.
 */
export class Exchange implements IncomingRequest, ContainerSideUser {
  readonly head: RequestHead;
  readonly peer: ClientPeer;
  readonly tls: boolean;
  readonly record: AccessRecord;
  readonly #client: ExchangeClient;
  readonly #side: ContainerSide;
  #state: number;
  readonly #totalDeadline: number;
  #interceptions = 0;
  /** What the current event brought. */
  #decision: Decision<InterceptingForward> | Interception | undefined;
  #error: unknown;
  #bodyAt = 0;

  constructor(client: ExchangeClient, head: RequestHead) {
    this.#client = client;
    this.head = head;
    this.peer = client.peer;
    this.tls = client.tls;
    this.#state = head.bodyKind === "none" ? STATE.DECIDING : STATE.DECIDING_OPEN;
    const { limits, ticker, watch, clock } = client.context;
    this.record = new AccessRecord(watch, clock, head, client.peer.address, client.protocol);
    this.#side = new ContainerSide(this, client);
    this.#totalDeadline = limits.totalTimeoutMs === 0 ? NEVER : ticker.now + limits.totalTimeoutMs;
  }

  get signal(): AbortSignal {
    return this.#client.signal;
  }

  /** The final response has begun. */
  get responding(): boolean {
    return EXCHANGE.hasRow(this.#state, EVENT.responseBytesCame);
  }

  /** The response has begun, and the next byte of it is the size of a chunk. */
  get isBetweenChunks(): boolean {
    return this.responding && this.#side.container?.isBetweenChunks === true;
  }

  /** The response has begun, and its framing does not show its end. */
  get isUnframed(): boolean {
    return this.#side.container?.unframed === true && this.#may(EVENT.containerLostUnframed);
  }

  // The client.

  begin(): void {
    try {
      const decided = this.#client.context.decide(this);
      if (decided instanceof Promise) decided.then((decision) => this.#decideLate(decision)).catch((error: unknown) => this.fail(error));
      else this.#decide(decided);
    } catch (error) {
      this.fail(error);
    }
  }

  /** A piece of the request's body, valid for this call only. */
  sendBody(memory: Buffer, at: number, end: number): void {
    this.#step(EVENT.bodyCame, memory, at, end);
  }

  /** The container's connection, if it gets the pieces of the body as they come. */
  get requestReceiver(): NetConnection | undefined {
    return this.#side.bodySent ? this.#side.container?.connection : undefined;
  }

  /** So many bytes of the body were moved to `requestReceiver`. */
  countBody(bytes: number): void {
    this.#side.countBody(bytes);
  }

  endRequest(): void {
    this.#step(EVENT.requestEnded);
  }

  onClientDrain(): void {
    this.#step(EVENT.clientDrained);
  }

  /** The client wants no response any more. */
  abandon(): void {
    this.#step(EVENT.clientGone);
  }

  /** Ends the exchange, with the error as response if that is still possible. */
  fail(error: unknown): void {
    this.#failBy(EVENT.failed, error);
  }

  // The lease and the clock.

  get awaitsTarget(): boolean {
    return this.#may(EVENT.pooled);
  }

  onTarget(pooled: boolean): void {
    this.#step(pooled ? EVENT.pooled : EVENT.unpooled);
  }

  onConnected(): void {
    this.#step(EVENT.connected);
  }

  revoke(fault: Fault): void {
    this.#failBy(EVENT.revoked, fault);
  }

  tick(now: number): void {
    const { limits } = this.#client.context;
    const silentMs = now - this.#client.clock.lastByteAt;
    if (now >= this.#side.headDeadline && this.#may(EVENT.headTimedOut))
      this.#failBy(EVENT.headTimedOut, new Fault("RESPONSE_TIMED_OUT", "The container did not respond in time"));
    else if (now >= this.#totalDeadline && this.#may(EVENT.totalTimedOut))
      this.#failBy(EVENT.totalTimedOut, new Fault("EXCHANGE_TIMED_OUT", "The request took longer than allowed"));
    else if (limits.bodyTimeoutMs > 0 && silentMs >= limits.bodyTimeoutMs && this.#may(EVENT.bodyTimedOut))
      this.#failBy(EVENT.bodyTimedOut, stalledBody(limits.bodyTimeoutMs, this.#client.isHeldByContainer));
    else if (limits.idleTimeoutMs > 0 && silentMs >= limits.idleTimeoutMs && this.#may(EVENT.idleTimedOut))
      this.#failBy(EVENT.idleTimedOut, new Fault("EXCHANGE_TIMED_OUT", "No byte was sent in either direction for too long"));
  }

  // The container.

  get bodyReceiver(): NetConnection | undefined {
    return this.responding ? this.#client.connection : undefined;
  }

  onReceived(bytes: number): void {
    this.#client.clock.noteProgress();
    this.record.countBytes(bytes, "container");
    this.#side.countResponse(bytes);
  }

  onInterim(): void {
    // HTTP/1.0 has no interim responses.
    if (this.head.minorVersion === 1) this.#step(EVENT.interimCame);
  }

  onSwitch(head: ResponseHead, memory: Buffer, at: number, end: number): void {
    if (!this.head.websocket || head.upgrade !== "websocket")
      return this.fail(new Fault("CONTAINER_BROKE_OFF", "The container switched to a protocol that was not requested"));
    const { container, forward } = this.#side;
    this.#client.writer.prepareSwitch(head, forward?.response(head, container?.connectMs ?? 0));
    this.#step(EVENT.switched, memory, at, end);
  }

  onHead(head: ResponseHead, memory: Buffer, at: number, bodyAt: number, end: number): void {
    if (this.#isIntercepted(head)) return;
    const { container, forward } = this.#side;
    if (container === undefined) return;
    const { head: request } = this;
    const client = this.#client;
    // If it throws, an error response can still be sent.
    const edits = forward?.response(head, container.connectMs);
    const last = client.closesAfter(request.persistent) || container.unframed || request.websocket;
    client.writer.prepare(request, head, edits, last, container.dechunks);
    this.record.responseStarted(head.status);
    this.#bodyAt = bodyAt;
    this.#step(EVENT.responseCame, memory, at, end);
  }

  onBody(memory: Buffer, at: number, end: number): void {
    this.#step(EVENT.responseBytesCame, memory, at, end);
  }

  onResponseEnd(clean: boolean, withHead = false): void {
    if (withHead && !this.#may(EVENT.requestEnded)) this.record.responseEndedWithHead();
    this.#step(clean ? EVENT.responseEnded : EVENT.responseEndedUnclean);
  }

  onSurplus(): void {
    this.#step(EVENT.responseBytesCame);
  }

  onContainerFailure(error: unknown): void {
    const refused = error instanceof MessageRefused;
    this.fail(refused ? new Fault("CONTAINER_BROKE_OFF", `The container's response cannot be forwarded: ${error.message}`) : error);
  }

  onContainerDrain(): void {
    this.#step(EVENT.containerDrained);
  }

  onContainerLost(error: Error | undefined): void {
    if (this.#isRepeatable && this.#side.mayBeStale && this.#may(EVENT.staleLost)) this.#step(EVENT.staleLost);
    else this.#loseContainer(error);
  }

  onTargetReplaced(): void {
    if (this.#may(EVENT.containerLost)) this.#loseContainer(undefined);
  }

  get #isRepeatable(): boolean {
    return IDEMPOTENT.has(this.head.method) && this.head.bodyKind === "none";
  }

  #loseContainer(error: Error | undefined): void {
    if (this.#isRepeatable && this.#side.mayFailOver(isSafe(this.head.method)) && this.#may(EVENT.failedOver)) this.#step(EVENT.failedOver);
    else if (this.isUnframed) this.#failBy(EVENT.containerLostUnframed, brokeOff(error));
    else this.#failBy(EVENT.containerLost, brokeOff(error));
  }

  #decideLate(decision: Decision<InterceptingForward>): void {
    this.record.identified(this.#client.context.clock.monotonic() - this.record.startedAt);
    this.#decide(decision);
  }

  #decide(decision: Decision<InterceptingForward>): void {
    if (decision.labels !== undefined) this.record.decided(decision.labels);
    this.#decision = decision;
    switch (decision.kind) {
      case "forward":
        return this.#step(EVENT.leased);
      case "answer":
        return this.#step(EVENT.answered);
      case "acceptWebSocket":
        return this.#step(EVENT.webSocketAccepted);
      case "refuseWebSocket":
        return this.#step(EVENT.webSocketRefused);
    }
  }

  #isIntercepted(head: ResponseHead): boolean {
    const { forward } = this.#side;
    if (forward?.intercept === undefined || this.#interceptions === MAX_INTERCEPTIONS) return false;
    head.keep();
    const instead = forward.intercept(head, this.#side.bodySent);
    if (instead === undefined) return false;
    if (this.#side.bodySent && "lease" in instead) {
      instead.lease.release();
      return false;
    }
    this.#interceptions++;
    this.#step(this.#side.bodySent ? EVENT.interceptedLate : EVENT.intercepted);
    if (instead instanceof Promise) instead.then((interception) => this.#replace(interception)).catch((error: unknown) => this.fail(error));
    else this.#replace(instead);
    return true;
  }

  #replace(instead: Interception): void {
    this.#decision = instead;
    this.#error = new Error("A request whose body was sent cannot be sent again");
    this.#step("lease" in instead ? EVENT.leased : EVENT.answered);
  }

  #failBy(event: number, error: unknown): void {
    // Its connection reports that next.
    if (this.#client.gone) return;
    if (!(error instanceof Fault) && this.#may(EVENT.totalTimedOut))
      this.#client.context.log.error({ err: error }, "request not forwarded: internal error");
    this.#error = error;
    this.#step(event);
  }

  // The table.

  #may(event: number): boolean {
    return EXCHANGE.hasRow(this.#state, event);
  }

  /** Bytes `at`..`end` of `memory` are those of the event, if it has any. */
  #step(event: number, memory: Buffer = NO_BYTES, at = 0, end = 0): void {
    const step = EXCHANGE.next(this.#state, event);
    this.#state = stateOf(step);
    this.#execute(actionsOf(step), memory, at, end);
  }

  /** In the order of the table's actions. */
  #execute(actions: number, memory: Buffer, at: number, end: number): void {
    const client = this.#client;
    const side = this.#side;
    const decision = this.#decision;
    if (has(actions, ACTION.queueBody)) side.queueBody(memory, at, end);
    if (has(actions, ACTION.sendBody)) side.sendBody(memory, at, end);
    if (has(actions, ACTION.sendInterim) && !client.writer.sendInterim(side.container?.head, side.forward?.interim)) side.pause();
    if (has(actions, ACTION.sendResponseHead) && !client.writer.sendHead(memory, at, this.#bodyAt, end)) side.pause();
    if (has(actions, ACTION.sendResponse) && !client.connection.send(memory, at, end)) side.pause();
    if (has(actions, ACTION.resumeClient)) client.resume();
    if (has(actions, ACTION.resumeContainer)) side.resume();
    if (has(actions, ACTION.closeContainer)) side.close();
    if (has(actions, ACTION.returnContainer)) side.returnToPool();
    if (has(actions, ACTION.discardLease) && decision !== undefined && "lease" in decision) side.discardLease(decision.lease);
    if (has(actions, ACTION.takeLease) && decision !== undefined && "lease" in decision) side.takeLease(decision);
    if (has(actions, ACTION.release)) side.release();
    if (has(actions, ACTION.sendHead)) side.sendHead(this.head);
    if (has(actions, ACTION.startHeadClock)) side.startHeadClock();
    if (has(actions, ACTION.locate)) side.locate();
    if (has(actions, ACTION.relocate)) side.relocate();
    if (has(actions, ACTION.dial)) side.dial();
    if (has(actions, ACTION.respond) && decision !== undefined && "answer" in decision) client.respond(decision.answer);
    if (has(actions, ACTION.respondFault)) this.#respondFault();
    if (has(actions, ACTION.finish)) client.exchangeOver(client.writer.last);
    if (has(actions, ACTION.breakOff)) client.breakOff();
    if (has(actions, ACTION.cut)) client.cut();
    if (has(actions, ACTION.acceptWebSocket) && decision !== undefined && "user" in decision) acceptUpgrade(client, this, decision);
    if (has(actions, ACTION.refuseWebSocket) && decision !== undefined && "code" in decision) refuseUpgrade(client, this, decision);
    if (has(actions, ACTION.switchProtocols)) switchProtocols(client, this, side, Buffer.from(memory.subarray(at, end)));
  }

  #respondFault(): void {
    const { context } = this.#client;
    const fault = this.#error instanceof Fault ? this.#error : internalFault(this.#error);
    this.record.failed(fault.code);
    this.#client.respond(this.#side.forward?.respondTo(fault) ?? context.refusal(fault));
  }
}
