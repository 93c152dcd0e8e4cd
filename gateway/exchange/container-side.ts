import type { AccessRecord } from "../access-record.ts";
import { dialLease, type DialResult, MAX_FAILOVERS } from "../connections/dial.ts";
import type { ForwardTarget, InterceptingForward, Lease, LeaseHolder } from "../decision.ts";
import type { RequestHead } from "../http1/message-reader.ts";
import { ByteQueue } from "./request-input.ts";
import { ContainerConnection, type ContainerUser } from "./container-connection.ts";
import type { ExchangeClient } from "./exchange-client.ts";
import { SWITCH_LINES } from "./response-writer.ts";

/** The exchange, as its container side sees it. */
export type ContainerSideUser = ContainerUser &
  LeaseHolder & {
    readonly record: AccessRecord;
    /** False if the target comes too late. */
    readonly awaitsTarget: boolean;
    /** The target is known. `pooled`: with an idle connection to it. */
    onTarget(pooled: boolean): void;
    onConnected(): void;
    fail(error: unknown): void;
  };

/** Bytes of a request's body that are queued while its container is not connected; beyond it, the client is not read. The last read may bring more, of up to 1 MiB. */
const QUEUED_BYTES = 65_536;
const NEVER = Number.POSITIVE_INFINITY;

/** The lease of one exchange, the way to its container, and what the container gets. The exchange decides when. */
export class ContainerSide {
  readonly #user: ContainerSideUser;
  readonly #client: ExchangeClient;
  #lease: Lease | undefined;
  #forward: InterceptingForward | undefined;
  #target: ForwardTarget | undefined;
  #container: ContainerConnection | undefined;
  #queue: ByteQueue | undefined;
  #bodySent = false;
  #failovers = 0;
  #headDeadline = NEVER;

  constructor(user: ContainerSideUser, client: ExchangeClient) {
    this.#user = user;
    this.#client = client;
  }

  get lease(): Lease | undefined {
    return this.#lease;
  }

  get forward(): InterceptingForward | undefined {
    return this.#forward;
  }

  get container(): ContainerConnection | undefined {
    return this.#container;
  }

  /** When the head of the response must have come, on the ticker's scale. */
  get headDeadline(): number {
    return this.#headDeadline;
  }

  /** A byte of the request's body was sent, so the request cannot be sent again. */
  get bodySent(): boolean {
    return this.#bodySent;
  }

  /** The connection was used before, and has brought nothing since. */
  get mayBeStale(): boolean {
    return this.#container?.mayBeStale === true;
  }

  /** The lease names a target after a loss. `isSafe`: the request reads only; another one, such as a deletion, is repeated once. */
  mayFailOver(isSafe: boolean): boolean {
    return this.#failovers < (isSafe ? MAX_FAILOVERS : 1) && this.#lease?.targetAfterLoss !== undefined;
  }

  countBody(bytes: number): void {
    this.#bodySent = true;
    this.#user.record.countBytes(bytes, "client");
    this.#lease?.countBytes(bytes, "client");
  }

  countResponse(bytes: number): void {
    this.#lease?.countBytes(bytes, "container");
  }

  takeLease({ forward, lease }: { forward: InterceptingForward; lease: Lease }): void {
    if (this.#lease !== lease) this.#lease?.release();
    this.#forward = forward;
    this.#lease = lease;
    lease.setHolder?.(this.#user);
  }

  discardLease(lease: Lease): void {
    if (this.#lease !== lease) lease.release();
  }

  release(): void {
    this.#queue = undefined;
    this.#lease?.release();
  }

  locate(): void {
    const target = this.#lease?.target(this.#client);
    if (target instanceof Promise) this.#hold(target).catch((error: unknown) => this.#user.fail(error));
    else if (target !== undefined) this.#take(target);
  }

  relocate(): void {
    const target = this.#target;
    const held = target === undefined ? undefined : this.#lease?.targetAfterLoss?.(target, this.#client);
    this.#failovers++;
    if (held !== undefined) this.#hold(held).catch((error: unknown) => this.#user.fail(error));
  }

  dial(): void {
    const lease = this.#lease;
    const target = this.#target;
    if (lease === undefined || target === undefined) return;
    const { context, signal } = this.#client;
    const { clock, limits, dials, h2c } = context;
    dialLease(lease, { clock, limits, signal, target, dials, h2c })
      .then((result) => this.#connected(result))
      .catch((error: unknown) => this.#user.fail(error));
  }

  queueBody(memory: Buffer, at: number, end: number): void {
    this.#queue ??= new ByteQueue();
    this.#queue.push(memory, at, end);
    if (this.#queue.length >= QUEUED_BYTES) this.#client.connection.pause();
  }

  /** Sends the head, then the queued body. */
  sendHead(head: RequestHead): void {
    const container = this.#container;
    const forward = this.#forward;
    if (container === undefined || forward === undefined) return;
    container.use(this.#user, head);
    // Until now nothing could receive the body.
    this.#client.clock.noteProgress();
    const { connection } = container;
    const before = connection.bytesSent;
    head.writeTo(connection, forward.target, forward.request, head.websocket ? SWITCH_LINES : "");
    this.#user.record.countBytes(connection.bytesSent - before, "client");
    const queued = this.#queue?.take();
    if (queued === undefined) return;
    this.#queue = undefined;
    this.countBody(queued.length);
    if (connection.sendOwn(queued)) this.#client.resume();
  }

  startHeadClock(): void {
    this.#headDeadline = this.#client.context.ticker.now + (this.#forward?.headTimeoutMs ?? NEVER);
  }

  sendBody(memory: Buffer, at: number, end: number): void {
    this.countBody(end - at);
    if (this.#container?.connection.send(memory, at, end) === false) this.#client.connection.pause();
  }

  pause(): void {
    this.#container?.connection.pause();
  }

  resume(): void {
    this.#container?.connection.resume();
  }

  close(): void {
    this.#leave()?.destroy();
  }

  returnToPool(): void {
    const container = this.#leave();
    if (container !== undefined && this.#target !== undefined && this.#lease !== undefined)
      this.#client.context.pool.put(container, this.#target, this.#lease);
  }

  #leave(): ContainerConnection | undefined {
    const container = this.#container;
    this.#container = undefined;
    container?.leave();
    return container;
  }

  async #hold(held: Promise<ForwardTarget>): Promise<void> {
    const { clock } = this.#client.context;
    const from = clock.monotonic();
    this.#take(await held.finally(() => this.#user.record.held(clock.monotonic() - from)));
  }

  #take(target: ForwardTarget): void {
    this.#target = target;
    if (this.#user.awaitsTarget && this.#lease !== undefined) this.#container = this.#client.context.pool.take(target, this.#lease);
    this.#user.onTarget(this.#container !== undefined);
  }

  #connected({ socket, target, connectMs }: DialResult): void {
    const { pool, http1, connections } = this.#client.context;
    this.#target = target;
    this.#user.record.connected(connectMs);
    const connection = connections.adopt(socket, { readToEnd: true });
    this.#container = new ContainerConnection(connection, { reader: http1.responses(), connectMs, forget: pool.forget });
    this.#user.onConnected();
  }
}
