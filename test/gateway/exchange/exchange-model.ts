import { strict as assert } from "node:assert";
import { actionsOf, stateOf } from "../../../gateway/exchange/state-machine.ts";
import { ModelClient, type ModelExchangeSide, type RequestKind } from "./client-model.ts";
import { EXCHANGE, type ExchangeAction, type ExchangeEvent, type ExchangeState } from "../../../gateway/exchange/machine.ts";

const STATE_NAMES = Object.keys(EXCHANGE.state) as ExchangeState[];
const ACTION_NAMES = Object.keys(EXCHANGE.action) as ExchangeAction[];
const MAX_PIECES = 3;
const MAX_REPLACED = 2;

/** A connection to a container: what it got, and how much of the response came. */
type ModelConnection = {
  /** Pieces of requests, each with the number of its exchange. */
  received: string[];
  user: ModelExchange | undefined;
  response: "none" | "begun" | "whole";
  clean: boolean;
  unread: boolean;
  reused: boolean;
  closed: boolean;
};

type ModelLease = { released: number; givenAway: boolean };

/** Clients, one after another, their exchanges, and the pool. Exchanges that are over stay: what they began may still come. */
export class ModelWorld {
  readonly pool: ModelConnection[] = [];
  readonly connections: ModelConnection[] = [];
  readonly leases: ModelLease[] = [];
  readonly exchanges: ModelExchange[] = [];
  readonly visited: Set<string>;
  readonly #kinds: RequestKind[];
  #client: ModelClient;

  constructor(visited: Set<string>, kinds: readonly RequestKind[]) {
    this.visited = visited;
    this.#kinds = [...kinds];
    this.#client = this.#connect();
  }

  /** What may happen next, by the state of connections, leases and the client; independent of the tables. */
  possible(): (() => void)[] {
    return [...this.#client.possible(this.#kinds[0]), ...this.exchanges.flatMap((one) => one.possible())];
  }

  /** The same for failures, time-outs, aborts and short requests: taken as often, few exchanges would come far. */
  seldom(): (() => void)[] {
    return [...this.#client.seldom(), ...this.exchanges.flatMap((one) => one.seldom())];
  }

  step(pick: number): void {
    if (this.#client.isGone) this.#client = this.#connect();
    const possible = pick % 8 === 0 ? this.seldom() : this.possible();
    possible[Math.trunc(pick / 8) % possible.length]?.();
  }

  openLease(): ModelLease {
    const lease = { released: 0, givenAway: false };
    this.leases.push(lease);
    return lease;
  }

  /** The client leaves, and everything that was begun comes. */
  end(): void {
    if (!this.#client.isGone) this.#client.close();
    this.#kinds.length = 0;
    for (let late = this.possible(); late.length > 0; late = this.possible()) late[0]?.();
    for (const lease of this.leases) assert.equal(lease.released + (lease.givenAway ? 1 : 0), 1, "each lease is released once, or given away");
    for (const connection of this.connections) {
      assert.ok(connection.closed || connection.user === undefined, "no connection stays with an exchange that is over");
      assert.ok(connection.closed || this.pool.includes(connection), "each connection is closed or in the pool");
    }
  }

  #connect(): ModelClient {
    const client: ModelClient = new ModelClient(this.visited, (kind) => {
      this.#kinds.shift();
      const exchange = new ModelExchange(this, client, { id: this.exchanges.length, kind });
      this.exchanges.push(exchange);
      return exchange;
    });
    return client;
  }
}

/** One exchange, and the I/O around it as far as the table depends on it. */
class ModelExchange implements ModelExchangeSide {
  readonly world: ModelWorld;
  readonly client: ModelClient;
  readonly id: number;
  readonly kind: RequestKind;
  state: number;
  over = false;
  open: boolean;
  pieces = 0;
  queued: string[] = [];
  sent: string[] = [];
  replaced = 0;
  dialled = false;
  failedOver = false;
  bytesSeen = false;
  unframed = false;
  lease: ModelLease | undefined;
  connection: ModelConnection | undefined;
  headClock = false;
  awaited: "decision" | "replacement" | "target" | "dial" | undefined = "decision";
  begun: "nothing" | "answer" | "response" | "whole" = "nothing";
  ended: ExchangeAction | undefined;
  /** Heads and pieces of responses that the container sent, and that the client got. */
  came = 0;
  passed = 0;
  resumed: "none" | "client" | "container" = "none";
  #brought: ModelLease | undefined;

  constructor(world: ModelWorld, client: ModelClient, { id, kind }: { id: number; kind: RequestKind }) {
    this.world = world;
    this.client = client;
    this.id = id;
    this.kind = kind;
    this.open = kind.body;
    this.state = kind.body ? EXCHANGE.state.DECIDING_OPEN : EXCHANGE.state.DECIDING;
  }

  possible(): (() => void)[] {
    return [...this.#awaitedEvents(), ...(this.over ? [] : [...this.#clientEvents(), ...this.#containerEvents()])];
  }

  seldom(): (() => void)[] {
    const { connection } = this;
    const late = this.awaited === undefined ? [] : [() => this.#settle("failed")];
    if (this.state === EXCHANGE.state.UPGRADED) return [() => this.#feed("failed")];
    // The revocation may still come.
    if (this.over) return [...late, ...(this.lease === undefined ? [] : [() => this.#feed("revoked")])];
    const ends = this.open ? [() => this.client.feed("requestEnded")] : [];
    return [...late, ...ends, ...this.#clockEvents(), ...(connection === undefined ? [] : [() => this.#lose(connection)])];
  }

  /** The client's bytes are not HTTP. */
  fail(): void {
    this.open = false;
    this.#feed("failed");
  }

  abandon(): void {
    this.#abandoned = true;
    this.#feed("clientGone");
  }

  #awaitedEvents(): (() => void)[] {
    const { awaited, world } = this;
    switch (awaited) {
      case undefined:
        return [];
      case "decision":
        return [
          () => this.#settle("answered"),
          () => this.#settleLease("leased", world.openLease()),
          ...(this.kind.websocket ? [() => this.#settleLease("webSocketAccepted", world.openLease()), () => this.#settle("webSocketRefused")] : []),
        ];
      case "replacement":
        return [
          () => this.#settle("answered"),
          () => this.#settleLease("leased", world.openLease()),
          ...(this.lease === undefined ? [] : [() => this.#settleLease("leased", this.lease as ModelLease)]),
        ];
      case "target": {
        const at = this.over ? -1 : world.pool.findLastIndex(({ unread }) => !unread);
        const idle = world.pool[at];
        return [
          () => this.#settle("unpooled"),
          ...(idle === undefined
            ? []
            : [
                () => {
                  world.pool.splice(at, 1);
                  assert.ok(!idle.unread, "the request before was taken");
                  this.#attach(idle);
                  this.#settle("pooled");
                },
              ]),
        ];
      }
      case "dial":
        return [
          () => {
            const connection: ModelConnection = {
              received: [],
              user: undefined,
              response: "none",
              clean: true,
              unread: false,
              reused: false,
              closed: false,
            };
            world.connections.push(connection);
            this.#attach(connection);
            this.#settle("connected");
          },
        ];
    }
  }

  #abandoned = false;

  #clientEvents(): (() => void)[] {
    return [
      () => this.#feed("clientDrained"),
      ...(this.open && this.pieces === MAX_PIECES ? [() => this.client.feed("requestEnded")] : []),
      ...(this.open && this.pieces < MAX_PIECES ? [() => this.#body()] : []),
    ];
  }

  endRequest(): void {
    this.open = false;
    this.#feed("requestEnded");
  }

  #body(): void {
    this.pieces++;
    this.#feed("bodyCame");
  }

  #containerEvents(): (() => void)[] {
    const { connection } = this;
    if (connection === undefined) return [];
    const come = (act: () => void) => () => {
      this.bytesSeen = true;
      act();
    };
    const common = [
      () => {
        connection.unread = !connection.unread;
        if (!connection.unread) this.#feed("containerDrained");
      },
    ];
    if (connection.response === "none") {
      const bodySent = this.sent.length > 1;
      return [
        ...common,
        ...(connection.reused && !this.bytesSeen ? [() => this.#lose(connection)] : []),
        come(() => this.#feed("interimCame")),
        come(() => undefined),
        come(() => {
          connection.response = "begun";
          this.unframed = this.id % 4 === 3;
          this.#feed("responseCame");
        }),
        ...(this.kind.websocket ? [come(() => this.#feed("switched"))] : []),
        ...(this.replaced === MAX_REPLACED
          ? []
          : [
              come(() => {
                this.replaced++;
                this.awaited = "replacement";
                this.#feed(bodySent ? "interceptedLate" : "intercepted");
              }),
            ]),
      ];
    }
    const surplus = () => {
      connection.clean = false;
      this.#feed("responseBytesCame");
    };
    if (connection.response === "whole") return [...common, surplus];
    return [
      ...common,
      () => this.#feed("responseBytesCame"),
      () => {
        connection.response = "whole";
        const clean = !this.unframed;
        connection.clean = clean;
        this.begun = "whole";
        this.#feed(clean ? "responseEnded" : "responseEndedUnclean");
      },
      () => {
        connection.response = "whole";
        connection.clean = false;
        this.begun = "whole";
        this.#feed("responseEndedUnclean");
      },
    ];
  }

  #lose(connection: ModelConnection): void {
    connection.closed = true;
    const repeatable = this.kind.idempotent && !this.kind.body;
    const movable = repeatable && !this.failedOver && this.id % 2 === 1;
    if (connection.response === "none")
      this.#feed(!this.bytesSeen && connection.reused && repeatable && !this.dialled ? "staleLost" : movable ? "failedOver" : "containerLost");
    else this.#feed(connection.response === "begun" && this.unframed ? "containerLostUnframed" : "containerLost");
  }

  #clockEvents(): (() => void)[] {
    const { connection } = this;
    const names: ExchangeEvent[] = ["totalTimedOut"];
    const responding = this.begun === "response" || this.begun === "whole";
    if (this.lease !== undefined) names.push("revoked");
    if (connection !== undefined && (responding || this.open)) names.push("idleTimedOut");
    if (connection !== undefined && (!responding || this.begun === "whole") && this.open) names.push("bodyTimedOut");
    if (connection !== undefined && !responding && this.headClock) names.push("headTimedOut");
    // Bytes that are not HTTP.
    if (connection !== undefined) names.push("failed");
    return names.map((name) => () => this.#feed(name));
  }

  #settle(event: ExchangeEvent): void {
    this.awaited = undefined;
    this.#feed(event);
  }

  #settleLease(event: ExchangeEvent, lease: ModelLease): void {
    this.#brought = lease;
    this.#settle(event);
  }

  #attach(connection: ModelConnection): void {
    assert.ok(!connection.closed && connection.user === undefined, "a connection has one user");
    connection.user = this;
    this.connection = connection;
  }

  #feed(event: ExchangeEvent): void {
    const from = STATE_NAMES[this.state] as ExchangeState;
    const step = EXCHANGE.next(this.state, EXCHANGE.event[event]);
    this.world.visited.add(`${from} ${event}`);
    const wasOver = this.over;
    if (event === "interimCame" || event === "responseCame" || event === "responseBytesCame") this.came++;
    this.resumed = "none";
    this.state = stateOf(step);
    this.over = this.state === EXCHANGE.state.OVER || this.state === EXCHANGE.state.UPGRADED;
    for (const action of ACTION_NAMES) {
      if ((actionsOf(step) & EXCHANGE.action[action]) === 0) continue;
      assert.ok(!wasOver || action === "discardLease" || (event === "connected" && action === "closeContainer"), `${action} after the end`);
      this.#execute(action);
    }
    this.#check(event);
  }

  #check(event: ExchangeEvent): void {
    const name = STATE_NAMES[this.state] as ExchangeState;
    if (!this.over) {
      assert.equal(name.endsWith("_OPEN") || name === "SENDING" || name === "UPLOADING", this.open, `${name} tells whether the request is complete`);
      assert.equal(this.ended, undefined, "an exchange that has ended is over");
      assert.ok(name !== "AWAITING" || this.headClock, "its clock runs");
      assert.equal(name.startsWith("HOLDING"), this.awaited === "target", "a held request awaits its target");
      assert.equal(name.startsWith("CONNECTING"), this.awaited === "dial", "a connection begins");
      assert.equal(this.passed, this.came, "the client has what the container sent");
      assert.equal(
        this.resumed,
        event === "containerDrained" ? "client" : event === "clientDrained" && this.connection !== undefined ? "container" : "none",
      );
      return;
    }
    assert.equal(this.connection, undefined, "no connection is left");
    assert.equal(this.queued.length, 0, "no byte is left");
    assert.ok(this.ended !== undefined || this.#abandoned, "the client has an answer or was cut");
  }

  #execute(action: ExchangeAction): void {
    const { connection, world } = this;
    const piece = `${this.id}.${this.pieces}`;
    switch (action) {
      case "queueBody":
        assert.ok(this.sent.length <= 1, "queued bytes would follow sent ones");
        return void this.queued.push(piece);
      case "sendBody":
        assert.equal(this.queued.length, 0, "queued bytes go first");
        return this.#send(piece);
      case "sendHead":
        assert.ok(connection !== undefined && connection.response === "none", "the connection owes no other response");
        this.sent = [];
        this.bytesSeen = false;
        this.#send(`${this.id}.head`);
        for (const one of this.queued) this.#send(one);
        this.queued = [];
        return;
      case "startHeadClock":
        assert.ok(!this.open && connection !== undefined);
        this.headClock = true;
        return;
      case "sendInterim":
        assert.equal(this.begun, "nothing", "an interim response precedes the final one");
        this.passed++;
        return;
      case "sendResponseHead":
        assert.equal(this.begun, "nothing", "one final response");
        this.begun = "response";
        this.passed++;
        return;
      case "sendResponse":
        assert.ok(this.begun === "response" && connection?.user === this && connection.response === "begun");
        this.passed++;
        return;
      case "resumeClient":
        this.resumed = "client";
        return;
      case "resumeContainer":
        this.resumed = "container";
        return;
      case "closeContainer":
        assert.ok(connection !== undefined);
        connection.closed = true;
        return this.#detach();
      case "returnContainer":
        assert.ok(connection !== undefined && !connection.closed && !this.open, "the request was sent");
        assert.ok(connection.response === "whole" && connection.clean, "the response is complete, and nothing follows");
        assert.deepEqual(this.sent, this.#wholeRequest(), "the container got this request, in order, and nothing else");
        this.#detach();
        connection.response = "none";
        connection.reused = true;
        return void world.pool.push(connection);
      case "discardLease":
        if (this.lease !== this.#brought) this.#releaseLease(this.#brought);
        return;
      case "takeLease":
        if (this.lease !== this.#brought) this.#releaseLease(this.lease);
        this.lease = this.#brought;
        this.dialled = false;
        this.headClock = false;
        return;
      case "release":
        this.#releaseLease(this.lease);
        this.queued = [];
        return;
      case "locate":
        this.awaited = "target";
        return;
      case "relocate":
        assert.ok(!this.failedOver && !this.open, "a request is sent to another target once, and has no body");
        this.failedOver = true;
        this.dialled = false;
        this.awaited = "target";
        return;
      case "dial":
        this.awaited = "dial";
        this.dialled = true;
        return;
      case "respond":
      case "respondFault":
        assert.equal(this.begun, "nothing", "one final response");
        this.begun = "answer";
        return this.#endBy(action, "whole");
      case "finish":
        assert.equal(this.begun, "whole", "the client has the whole response");
        return this.#endBy(action, "whole");
      case "breakOff":
      case "cut":
        assert.equal(this.begun, "response", "only an incomplete response is cut");
        assert.equal(action === "cut" || !this.unframed, true, "the client can see that bytes are missing");
        return this.#endBy(action, action === "cut" ? "cut" : "brokenOff");
      case "acceptWebSocket":
        (this.#brought as ModelLease).givenAway = true;
        return this.#endBy(action, "handedOver");
      case "switchProtocols":
        (this.lease as ModelLease).givenAway = true;
        assert.ok(connection !== undefined);
        connection.closed = true;
        this.#detach();
        return this.#endBy(action, "handedOver");
      case "refuseWebSocket":
        return this.#endBy(action, "handedOver");
      default:
        return action satisfies never;
    }
  }

  #send(piece: string): void {
    const { connection } = this;
    assert.ok(connection?.user === this && !connection.closed, "bytes go to the container of this exchange");
    this.sent.push(piece);
    connection.received.push(piece);
  }

  #wholeRequest(): string[] {
    return [`${this.id}.head`, ...Array.from({ length: this.pieces }, (_, at) => `${this.id}.${at + 1}`)];
  }

  #detach(): void {
    if (this.connection !== undefined) this.connection.user = undefined;
    this.connection = undefined;
  }

  #releaseLease(lease: ModelLease | undefined): void {
    if (lease === undefined) return;
    lease.released++;
    assert.equal(lease.released, 1, "a lease is released once");
  }

  #endBy(action: ExchangeAction, how: "whole" | "brokenOff" | "cut" | "handedOver"): void {
    assert.equal(this.ended, undefined, "one end");
    this.ended = action;
    this.client.over(how, this.unframed);
  }
}
