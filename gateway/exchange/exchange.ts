import { Fault } from "../../lib/fault.ts";
import { internalFault } from "../direct-responses.ts";
import type { IncomingRequest, Decision, InterceptingForward, Interception, Lease, ClientPeer, ForwardTarget } from "../decision.ts";
import { AccessRecord } from "../access-record.ts";
import { MessageRefused, type RequestHead, type ResponseHead } from "../http1/message-reader.ts";
import { brokeOff, dialLease, type DialResult } from "../connections/dial.ts";
import { stalledBody } from "../limits.ts";
import type { ExchangeClient, ForwardedExchange } from "./engine-context.ts";
import { ContainerConnection, type ContainerConnectionUser } from "./pool.ts";
import { passResponse } from "./pass-response.ts";
import { acceptUpgrade, refuseUpgrade, SWITCH_LINES } from "./upgrade.ts";

/** Repeating one of these changes nothing (RFC 9110 §9.2.2). */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

/** Bytes of a request's body that are kept while its container is not connected; beyond it, the client is not read. */
const HELD_BYTES = 65_536;
/** How often responses of one request may be replaced. */
const MAX_INTERCEPTIONS = 4;
const NEVER = Number.POSITIVE_INFINITY;

/**
 * One request and its response. It ends by one of `client.respond` (a response of berth's own), `client.exchangeOver` (the container's response was
 * forwarded), `client.cut` or `client.breakOff` (the response is incomplete).
 */
export class Exchange implements IncomingRequest, ForwardedExchange, ContainerConnectionUser {
  readonly client: ExchangeClient;
  readonly head: RequestHead;
  /** The whole request has come. */
  requestOver = false;
  responding = false;
  awaiting: "head" | "length" | "chunked" | "close" | "over" = "head";
  responseLeft = 0;
  closing = false;
  container: ContainerConnection | undefined;
  forward: InterceptingForward | undefined;
  lease: Lease | undefined;
  readonly record: AccessRecord;
  #target: ForwardTarget | undefined;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #bodySent = false;
  #responseSeen = false;
  #dialled = false;
  #interceptions = 0;
  #over = false;
  #headDeadline = NEVER;
  #totalDeadline: number;

  constructor(client: ExchangeClient, head: RequestHead) {
    this.client = client;
    this.head = head;
    const { limits, ticker, watch, clock } = client.context;
    this.record = new AccessRecord(watch, clock, head, client.peer.address);
    this.#totalDeadline = limits.totalTimeoutMs === 0 ? NEVER : ticker.now + limits.totalTimeoutMs;
  }

  get peer(): ClientPeer {
    return this.client.peer;
  }

  get tls(): boolean {
    return this.client.tls;
  }

  get signal(): AbortSignal {
    return this.client.signal;
  }

  begin(): void {
    const { client } = this;
    try {
      const decided = client.context.decide(this);
      if (decided instanceof Promise) decided.then((decision) => this.#executeLate(decision)).catch((error: unknown) => this.fail(error));
      else this.#execute(decided);
    } catch (error) {
      this.fail(error);
    }
  }

  /** A piece of the request's body, valid for this call only. */
  sendBody(memory: Buffer, at: number, end: number): void {
    const { container, client } = this;
    if (container === undefined) {
      // The container is gone: the rest of the body is discarded.
      if (this.awaiting === "over" || this.#bodySent) return;
      this.#held.push(Buffer.from(memory.subarray(at, end)));
      this.#heldBytes += end - at;
      if (this.#heldBytes >= HELD_BYTES) client.connection.pause();
      return;
    }
    this.#bodySent = true;
    this.record.bytesIn += end - at;
    this.lease?.countBytes(end - at, "client");
    if (!container.connection.send(memory, at, end)) client.connection.pause();
  }

  bodyOver(): void {
    this.requestOver = true;
    if (this.awaiting === "over") return this.#finish();
    if (this.container !== undefined) this.#startHeadClock();
  }

  onResponse(memory: Buffer, at: number, end: number): void {
    this.#responseSeen = true;
    this.client.lastByteAt = this.client.context.ticker.now;
    this.record.bytesOut += end - at;
    this.lease?.countBytes(end - at, "container");
    try {
      passResponse(this, memory, at, end);
    } catch (error) {
      const fault =
        error instanceof MessageRefused ? new Fault("CONTAINER_BROKE_OFF", `The container's response cannot be forwarded: ${error.message}`) : error;
      this.fail(fault);
    }
  }

  isIntercepted(head: ResponseHead): boolean {
    const { forward } = this;
    if (forward?.intercept === undefined || this.#interceptions === MAX_INTERCEPTIONS) return false;
    head.keep();
    const instead = forward.intercept(head, this.#bodySent);
    if (instead === undefined) return false;
    if (this.#bodySent && "lease" in instead) {
      instead.lease.release();
      return false;
    }
    this.#interceptions++;
    this.#leaveContainer();
    if (instead instanceof Promise) instead.then((interception) => this.#replaceResponse(interception)).catch((error: unknown) => this.fail(error));
    else this.#replaceResponse(instead);
    return true;
  }

  onContainerDrain(): void {
    this.client.resume();
  }

  onClientDrain(): void {
    this.container?.connection.resume();
  }

  onContainerEnd(): void {
    // A body without a length ends with its connection.
    if (this.awaiting === "close") this.responseOver(false);
    else this.container?.destroy();
  }

  onContainerClose(error: Error | undefined): void {
    const died = this.container;
    this.container = undefined;
    if (this.#over || died === undefined) return;
    const unanswered = this.awaiting === "head" && !this.#responseSeen;
    if (this.awaiting === "over") this.#finish();
    else if (unanswered && died.reused && this.#repeatable() && !this.#dialled && this.#target !== undefined) this.#dial(this.#target);
    else if (!this.responding) this.fail(brokeOff(error));
    else {
      this.#end();
      // HTTP/1.0 gets a chunked body without chunks, so the end of the connection is its end.
      if (this.awaiting === "close" || (this.awaiting === "chunked" && this.head.minorVersion === 0)) this.client.cut();
      else this.client.breakOff();
    }
  }

  onClientGone(): void {
    this.abandon();
  }

  /** Leaves the container, and ignores the rest of its response. */
  abandon(): void {
    this.#end();
    this.#leaveContainer();
  }

  responseOver(reusable: boolean): void {
    this.awaiting = "over";
    const { container } = this;
    if (!reusable && container !== undefined) {
      container.exchange = undefined;
      this.container = undefined;
      container.destroy();
    }
    // A container may respond early, and still read the rest of the request.
    if (this.requestOver || this.container === undefined) this.#finish();
  }

  tick(now: number): void {
    const { limits } = this.client.context;
    if (now >= this.#headDeadline && this.awaiting === "head") this.fail(new Fault("RESPONSE_TIMED_OUT", "The container did not respond in time"));
    else if (now >= this.#totalDeadline) this.fail(new Fault("EXCHANGE_TIMED_OUT", "The request took longer than allowed"));
    else if (limits.bodyTimeoutMs > 0 && this.#sendsBody() && now - this.client.lastByteAt >= limits.bodyTimeoutMs)
      this.fail(stalledBody(limits.bodyTimeoutMs, this.client.connection.paused));
    else if (limits.idleTimeoutMs > 0 && this.#expectsBytes() && now - this.client.lastByteAt >= limits.idleTimeoutMs)
      this.fail(new Fault("EXCHANGE_TIMED_OUT", "No byte was sent in either direction for too long"));
  }

  revoke(fault: Fault): void {
    this.fail(fault);
  }

  fail(error: unknown): void {
    if (this.#over) return;
    const { client, forward } = this;
    this.abandon();
    if (client.gone) return;
    if (!(error instanceof Fault)) client.context.log.error({ err: error }, "request not forwarded: internal error");
    if (this.responding) return client.cut();
    const fault = error instanceof Fault ? error : internalFault(error);
    this.record.fault = fault.code;
    client.respond(forward === undefined ? client.context.refusal(fault) : forward.respondTo(fault));
  }

  handOver(): void {
    const { container } = this;
    this.container = undefined;
    this.#over = true;
    if (container !== undefined) container.exchange = undefined;
  }

  #executeLate(decision: Decision<InterceptingForward>): void {
    const { record } = this;
    record.identityMs = this.client.context.clock.monotonic() - record.startedAt;
    this.#execute(decision);
  }

  #execute(decision: Decision<InterceptingForward>): void {
    if (decision.labels !== undefined) this.record.labels = decision.labels;
    if (this.#over) {
      if ("lease" in decision) decision.lease.release();
      return;
    }
    switch (decision.kind) {
      case "answer":
        this.#over = true;
        return this.client.respond(decision.answer);
      case "refuseWebSocket":
        return refuseUpgrade(this, decision);
      case "acceptWebSocket":
        return acceptUpgrade(this, decision);
      case "forward":
        this.forward = decision.forward;
        this.lease = decision.lease;
        decision.lease.setHolder?.(this);
        return this.#reach(decision.lease);
    }
  }

  #leaveContainer(): void {
    const { container } = this;
    this.container = undefined;
    if (container === undefined) return;
    container.exchange = undefined;
    container.destroy();
  }

  #replaceResponse(instead: Interception): void {
    if (this.#over) {
      if ("lease" in instead) instead.lease.release();
      return;
    }
    if ("answer" in instead) {
      this.#end();
      return this.client.respond(instead.answer);
    }
    if (this.#bodySent) {
      instead.lease.release();
      return this.fail(new Error("A request whose body was sent cannot be sent again"));
    }
    if (this.lease !== instead.lease) this.lease?.release();
    this.forward = instead.forward;
    this.lease = instead.lease;
    this.#responseSeen = false;
    this.#dialled = false;
    this.#headDeadline = NEVER;
    this.#reach(instead.lease);
  }

  #reach(lease: Lease): void {
    const target = lease.target();
    if (target instanceof Promise) this.#hold(target).catch((error: unknown) => this.fail(error));
    else this.#go(target);
  }

  async #hold(held: Promise<ForwardTarget>): Promise<void> {
    const { clock } = this.client.context;
    const from = clock.monotonic();
    const target = await held.finally(() => (this.record.holdMs = clock.monotonic() - from));
    this.#go(target);
  }

  #go(target: ForwardTarget): void {
    const { lease } = this;
    if (this.#over || lease === undefined) return;
    const idle = this.client.context.pool.take(target, lease);
    this.#target = target;
    if (idle === undefined) this.#dial(target);
    else this.#send(idle);
  }

  #dial(target: ForwardTarget): void {
    const { lease } = this;
    if (lease === undefined) return;
    const { context, signal } = this.client;
    this.#dialled = true;
    const { clock, limits, dials, h2c } = context;
    dialLease(lease, { clock, limits, signal, target, dials, h2c })
      .then((result) => this.#connected(result))
      .catch((error: unknown) => this.fail(error));
  }

  #connected({ socket, target, connectMs }: DialResult): void {
    if (this.#over) return void socket.destroy();
    this.#target = target;
    this.record.connectMs = connectMs;
    const { pool, http1, connections } = this.client.context;
    const connection = connections.adopt(socket, { readToEnd: true });
    this.#send(new ContainerConnection(connection, { reader: http1.responses(), connectMs, forget: pool.forget }));
  }

  #send(container: ContainerConnection): void {
    const { head, forward, client } = this;
    if (forward === undefined) return;
    this.container = container;
    container.exchange = this;
    // Until now nothing could receive the body.
    client.lastByteAt = client.context.ticker.now;
    const { connection } = container;
    const before = connection.bytesSent;
    let taken = head.writeTo(connection, forward.target, forward.request, head.websocket ? SWITCH_LINES : "");
    if (this.#heldBytes > 0) {
      for (const piece of this.#held) taken = connection.sendOwn(piece);
      this.lease?.countBytes(this.#heldBytes, "client");
      this.#held = [];
      this.#heldBytes = 0;
      this.#bodySent = true;
      if (taken) client.resume();
    }
    this.record.bytesIn += connection.bytesSent - before;
    if (this.requestOver) this.#startHeadClock();
  }

  #finish(): void {
    const { container, lease, client } = this;
    this.container = undefined;
    this.#end();
    if (container !== undefined) {
      container.exchange = undefined;
      if (container.connection.backlog > 0) {
        // The container responded without reading the whole request. Neither another exchange nor the client may wait until it reads the rest.
        container.destroy();
        client.resume();
      } else if (this.#target !== undefined && lease !== undefined) client.context.pool.put(container, this.#target, lease);
    }
    client.exchangeOver(this.closing);
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#held = [];
    this.lease?.release();
  }

  #startHeadClock(): void {
    if (this.awaiting === "head" && this.forward !== undefined) this.#headDeadline = this.client.context.ticker.now + this.forward.headTimeoutMs;
  }

  /** The body is being sent, and no response has begun. */
  #sendsBody(): boolean {
    return this.container !== undefined && !this.requestOver && !this.responding;
  }

  /** Bytes are expected. The wait for the response head, and the hold, have limits of their own. */
  #expectsBytes(): boolean {
    return this.container !== undefined && (this.responding || !this.requestOver);
  }

  #repeatable(): boolean {
    return IDEMPOTENT.has(this.head.method) && this.head.bodyKind === "none";
  }
}
