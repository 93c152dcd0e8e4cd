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
  /** Events so far, and answers. */
  requests = 0;
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
    if (name === "WAIT" || name === "BODY") events.push(() => this.feed("left"));
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
    for (const action of ACTION_NAMES) if ((actionsOf(step) & CLIENT.action[action]) !== 0) this.#execute(action);
    this.#check();
  }

  #unreadable = false;

  #request(kind: RequestKind): void {
    this.#kind = kind;
    this.requests++;
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
      case "answerLate":
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
      case "probe":
        return;
    }
  }

  #check(): void {
    const { name } = this;
    assert.equal(this.exchange !== undefined, name === "BODY" || name === "WAIT", `${name}: an exchange is open, or is not`);
    if (name === "CLOSED" || name === "UPGRADED") return assert.equal(this.clock, "stopClock", "no clock is left");
    assert.equal(this.sent === "open", ["IDLE", "HEAD", "BODY", "WAIT", "DROP"].includes(name), `${name}: more may be sent, or not`);
    if (name === "CLOSING" && this.sent === "ended") assert.equal(this.clock, "startCloseClock", "a close takes limited time");
    if (name === "BODY" || name === "WAIT") assert.equal(this.clock, "stopClock", "the exchange has clocks of its own");
    if (name === "DROP" || name === "DROP_LAST") assert.equal(this.clock, "startCloseClock");
  }
}
