import { createMachine, type MachineTable } from "./state-machine.ts";

export type ClientState = keyof typeof STATES;
export type ClientEvent = keyof typeof EVENTS;
export type ClientAction = keyof typeof ACTIONS;

const STATES = {
  IDLE: "between two requests",
  HEAD: "within the head of a request",
  BODY: "within the body of a request, which goes to its exchange",
  WAIT: "the request is complete, its answer is not; received bytes are kept for the next request or for the other protocol",
  DROP: "the answer was sent early; the rest of the body is discarded, so that the client reads the answer",
  DROP_LAST: "the same, and nothing follows",
  CLOSING: "nothing more is sent; received bytes are discarded until the client closes",
  UPGRADED: "the code of WebSockets has the connection",
  CLOSED: "the connection is closed",
} as const;

const EVENTS = {
  headBegan: { means: "the first bytes of a head", elsewhere: "no head is read" },
  requestCame: { means: "the head of a request without a body", elsewhere: "no head is read" },
  requestCameOpen: { means: "the head of a request with a body", elsewhere: "no head is read" },
  requestEnded: { means: "the end of the body", elsewhere: "no body is read" },
  refused: { means: "bytes that are not HTTP", elsewhere: "the bytes are not read as HTTP" },

  answered: { means: "the whole answer was sent; another request may follow", elsewhere: "no request awaits an answer" },
  answeredLast: { means: "the whole answer was sent, and is the last one", elsewhere: "no request awaits an answer" },
  brokenOff: { means: "the answer is incomplete, and its framing shows that", elsewhere: "no request awaits an answer" },
  cut: { means: "the answer is incomplete, and its framing does not show that", elsewhere: "no request awaits an answer" },
  handedOver: { means: "the connection becomes a WebSocket", elsewhere: "only a complete request can become a WebSocket" },

  ended: { means: "the client sends nothing more; it may await an answer", elsewhere: "within a body it wants none; others read a WebSocket" },
  left: { means: "the client ends or breaks its connection, and wants no answer", elsewhere: "no request awaits an answer" },
  leftUnframed: { means: "the same, within an answer whose framing does not show that", elsewhere: "no request awaits an answer" },
  draining: { means: "the gateway closes soon; the current answer is the last", elsewhere: "the engine has forgotten the connection" },
  crowded: { means: "it has been idle for a second, and other clients need the place", elsewhere: "only an idle connection gives way" },
  timedOut: { means: "a head, an idle connection, a discarded body or a close took too long", elsewhere: "no clock of the connection runs" },
  closed: { means: "the connection closed", elsewhere: "it closes once" },
} as const;

/** They run in this order. What may cause another event is last. */
const ACTIONS = {
  startHeadClock: "start the clock of the head",
  startIdleClock: "start the clock of an idle connection",
  startCloseClock: "start the clock of a discarded body or of a close",
  stopClock: "stop the clock",
  resume: "read the connection",
  answerRefusal: "answer that the bytes are no request, or came too late",
  end: "end the direction to the client",
  reset: "reset the connection",
  destroy: "close the connection in both directions",
  probe: "find out whether the client still reads",
  begin: "begin the exchange",
  endRequest: "tell the exchange that its request is complete",
  failExchange: "tell the exchange that its request is not HTTP",
  abandonExchange: "tell the exchange that its client is gone",
  readNext: "read the kept bytes as the next request",
} as const;

const READING = ["IDLE", "HEAD"] as const;
const OPEN = ["BODY", "WAIT"] as const;
const DROPPING = ["DROP", "DROP_LAST"] as const;

/** The connection of one client: it reads requests, one after another. */
export const CLIENT_TABLE: MachineTable<ClientState, ClientEvent, ClientAction> = {
  states: STATES,
  events: EVENTS,
  actions: ACTIONS,
  rows: [
    ["headBegan", "IDLE", "HEAD", "startHeadClock"],
    ["headBegan", "HEAD", "same"],
    ["requestCame", READING, "WAIT", "stopClock", "begin"],
    ["requestCameOpen", READING, "BODY", "stopClock", "begin"],
    ["requestEnded", "BODY", "WAIT", "endRequest"],
    ["requestEnded", "DROP", "IDLE", "startIdleClock"],
    [["requestEnded", "refused", "ended"], "DROP_LAST", "CLOSING", "startCloseClock"],
    ["refused", READING, "CLOSING", "answerRefusal", "end", "startCloseClock", "resume"],
    ["refused", "BODY", "WAIT", "failExchange"],
    ["refused", "DROP", "CLOSING", "end", "startCloseClock"],

    ["answered", "WAIT", "IDLE", "startIdleClock", "readNext"],
    ["answered", "BODY", "DROP", "startCloseClock", "resume"],
    ["answeredLast", "WAIT", "CLOSING", "end", "startCloseClock", "resume"],
    ["answeredLast", "BODY", "DROP_LAST", "end", "startCloseClock", "resume"],
    ["brokenOff", OPEN, "CLOSING", "end", "startCloseClock", "resume"],
    ["cut", OPEN, "CLOSING", "reset"],
    ["handedOver", "WAIT", "UPGRADED", "stopClock"],

    ["ended", [...READING, "DROP"], "CLOSING", "end", "startCloseClock", "resume"],
    ["ended", "WAIT", "same", "probe"],
    ["ended", "CLOSING", "same"],
    ["left", OPEN, "CLOSING", "destroy", "abandonExchange"],
    ["leftUnframed", OPEN, "CLOSING", "reset", "abandonExchange"],
    ["draining", "IDLE", "same", "startIdleClock"],
    ["draining", ["HEAD", ...OPEN, ...DROPPING, "CLOSING"], "same"],
    ["crowded", "IDLE", "CLOSING", "end", "startCloseClock", "resume"],
    ["timedOut", "IDLE", "CLOSING", "end", "startCloseClock", "resume"],
    ["timedOut", "HEAD", "CLOSING", "answerRefusal", "end", "startCloseClock", "resume"],
    ["timedOut", [...DROPPING, "CLOSING"], "CLOSING", "stopClock", "destroy"],
    ["closed", [...READING, ...DROPPING, "CLOSING"], "CLOSED", "stopClock"],
    ["closed", OPEN, "CLOSED", "stopClock", "abandonExchange"],
  ],
};

export const CLIENT = createMachine(CLIENT_TABLE);
