import { strict as assert } from "node:assert";
import { CLIENT, type ClientAction, type ClientEvent, type ClientState } from "../../../gateway/exchange/client-machine.ts";
import { actionsOf, stateOf } from "../../../gateway/exchange/state-machine.ts";

const STATE_NAMES = Object.keys(CLIENT.state) as ClientState[];
const ACTION_NAMES = Object.keys(CLIENT.action) as ClientAction[];

/** What a client's connection asks of the exchange that it has begun. */
export type ModelExchangeSide = { endRequest(): void; fail(): void; abandon(): void };

export type RequestKind = { body: boolean; websocket: boolean; idempotent: boolean };

/** One client's connection as far as its table depends on it. */
export class ModelClient {
  state = CLIENT.state.IDLE;
  /** The clock that runs. */
  clock: ClientAction = "startHeadClock";
  /** The direction to the client has ended. */
  sent: "open" | "ended" | "closed" = "open";
  closed = false;
  /** The connection is not read: its exchange or the next request waits. */
  paused = false;
  answers = 0;
  ended = false;
  draining = false;
  exchange: ModelExchangeSide | undefined;
  readonly visited: Set<string>;
  readonly #begin: (kind: RequestKind) => ModelExchangeSide;
  #kind: RequestKind | undefined;

  constructor(visited: Set<string>, begin: (kind: RequestKind) => ModelExchangeSide) {
    this.visited = visited;
    this.#begin = begin;
  }

  get isGone(): boolean {
    return this.closed || this.name === "UPGRADED";
  }

  get name(): ClientState {
    return STATE_NAMES[this.state] as ClientState;
  }

  /** What the client and the network may do next; independent of the table. */
  possible(kind: RequestKind | undefined): (() => void)[] {
    const { name } = this;
    if (this.isGone) return [];
    const read = this.sent !== "closed" && !this.ended;
    if (!read) return [];
    if (name === "IDLE" || name === "HEAD")
      return kind === undefined ? [() => this.feed("headBegan")] : [() => this.feed("headBegan"), () => this.#request(kind)];
    return name === "DROP" || name === "DROP_LAST" ? [() => this.feed("requestEnded")] : [];
  }

  seldom(): (() => void)[] {
    const { name } = this;
    if (this.isGone) return [];
    const events = [() => this.close()];
    if (!this.draining) events.push(() => this.#drain());
    const isReading = name !== "WAIT" && name !== "CLOSING";
    if (isReading && !this.ended) events.push(() => this.feed("refused"));
    if (!this.ended) events.push(() => this.#end());
    if (name === "IDLE") events.push(() => this.feed("crowded"));
    if (name === "IDLE" || name === "BODY" || name === "WAIT") events.push(() => void (this.paused = true));
    if (name === "WAIT" || name === "BODY") events.push(...(["left", "leftUnframed"] as const).map((event) => () => this.feed(event)));
    if (this.clock !== "stopClock") events.push(() => this.feed("timedOut"));
    return events;
  }

  /** The end of an exchange, as its table reports it. */
  over(how: "whole" | "brokenOff" | "cut" | "handedOver", last: boolean): void {
    this.exchange = undefined;
    if (how !== "whole") return this.feed(how);
    this.answers++;
    assert.equal(this.sent, "open", "an answer is sent before the end");
    this.feed(last || this.ended || this.draining || this.#unreadable ? "answeredLast" : "answered");
  }

  close(): void {
    this.closed = true;
    this.feed("closed");
  }

  feed(event: ClientEvent): void {
    const from = this.name;
    const step = CLIENT.next(this.state, CLIENT.event[event]);
    this.visited.add(`${from} ${event}`);
    this.state = stateOf(step);
    const answers = this.answers;
    const done = ACTION_NAMES.filter((action) => (actionsOf(step) & CLIENT.action[action]) !== 0);
    for (const action of done) this.#execute(action);
    const isLate = event === "timedOut" && from === "HEAD";
    const isRefused = event === "refused" && (from === "IDLE" || from === "HEAD");
    if (isLate || isRefused) assert.equal(this.answers, answers + 1, "bytes that are no request get an answer");
    if (event === "ended" && from === "WAIT") assert.ok(done.includes("probe"), "the client may be gone");
    if (event === "answered" && from === "WAIT") assert.equal(this.paused, false, "the next request is read");
    if (event === "leftUnframed") assert.ok(done.includes("reset"), "a part of an answer must not look whole");
    if (event === "draining" && from === "IDLE") assert.ok(done.includes("startIdleClock"), "an idle connection closes soon");
    this.#check();
  }

  #unreadable = false;

  #request(kind: RequestKind): void {
    this.#kind = kind;
    this.feed(kind.body ? "requestCameOpen" : "requestCame");
  }

  #drain(): void {
    this.draining = true;
    this.feed("draining");
  }

  #end(): void {
    this.ended = true;
    this.feed(this.name === "BODY" || (this.name === "WAIT" && this.#kind?.websocket === true) ? "left" : "ended");
  }

  #execute(action: ClientAction): void {
    const { exchange } = this;
    switch (action) {
      case "startHeadClock":
      case "startIdleClock":
      case "startCloseClock":
      case "stopClock":
        this.clock = action;
        return;
      case "answerRefusal":
        assert.ok(exchange === undefined && this.sent === "open", "only bytes that are no request get such an answer");
        this.answers++;
        return;
      case "end":
        assert.equal(this.sent, "open", "it ends once");
        this.sent = "ended";
        return;
      case "reset":
      case "destroy":
        this.sent = "closed";
        return;
      case "begin":
        assert.equal(exchange, undefined, "one exchange at a time");
        this.exchange = this.#begin(this.#kind as RequestKind);
        return;
      case "endRequest":
        return exchange?.endRequest();
      case "failExchange":
        this.#unreadable = true;
        return exchange?.fail();
      case "abandonExchange":
        this.exchange = undefined;
        return exchange?.abandon();
      case "resume":
      case "readNext":
        this.paused = false;
        return;
      case "probe":
        return;
    }
  }

  #check(): void {
    const { name } = this;
    assert.equal(this.exchange !== undefined, name === "BODY" || name === "WAIT", `${name}: an exchange is open, or is not`);
    if (name === "CLOSED" || name === "UPGRADED") return assert.equal(this.clock, "stopClock", "no clock is left");
    assert.equal(this.sent === "open", ["IDLE", "HEAD", "BODY", "WAIT", "DROP"].includes(name), `${name}: more may be sent, or not`);
    // The first head has the time limit of one that has begun.
    const clocks: ClientAction[] = name === "IDLE" && this.answers === 0 ? ["startHeadClock", "startIdleClock"] : [CLOCKS[name]];
    if (this.sent !== "closed") assert.ok(clocks.includes(this.clock), `${name}: ${this.clock}`);
    if (name.startsWith("DROP") || (name === "CLOSING" && this.sent === "ended")) assert.equal(this.paused, false, "it is read to its end");
  }
}

const CLOCKS: Record<ClientState, ClientAction> = {
  IDLE: "startIdleClock",
  HEAD: "startHeadClock",
  BODY: "stopClock",
  WAIT: "stopClock",
  DROP: "startCloseClock",
  DROP_LAST: "startCloseClock",
  CLOSING: "startCloseClock",
  UPGRADED: "stopClock",
  CLOSED: "stopClock",
};
