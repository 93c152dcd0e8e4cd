import { createMachine, type MachineTable } from "./state-machine.ts";

export type ExchangeState = keyof typeof STATES;
export type ExchangeEvent = keyof typeof EVENTS;
export type ExchangeAction = keyof typeof ACTIONS;

/** `_OPEN`: a part of the request's body is still to come. */
const STATES = {
  DECIDING_OPEN: "`decide` has the head",
  DECIDING: "`decide` has the head",
  HOLDING_OPEN: "the lease waits for its container",
  HOLDING: "the lease waits for its container",
  CONNECTING_OPEN: "a connection to the container begins",
  CONNECTING: "a connection to the container begins",
  SENDING: "the container has the head of the request, and gets its body; no response yet",
  AWAITING: "the container has the whole request; no response yet",
  REPLACING_OPEN: "another request or an answer of berth's own will replace the response",
  REPLACING: "another request or an answer of berth's own will replace the response",
  ANSWERING_OPEN: "an answer of berth's own will replace the response: a part of the body is gone",
  ANSWERING: "an answer of berth's own will replace the response: the body is gone",
  RESPONDING_OPEN: "the client gets the response, the container still gets the body",
  RESPONDING: "the client gets the response",
  UPLOADING: "the client has the whole response, the container still gets the body",
  UPGRADED: "the code of WebSockets has both connections and the lease",
  OVER: "the client has its answer or was cut, and the lease is released",
} as const;

const EVENTS = {
  answered: { means: "the decision or the replacement is an answer of berth's own", elsewhere: "nothing is being decided" },
  leased: { means: "the decision or the replacement has a lease", elsewhere: "nothing is being decided" },
  webSocketAccepted: { means: "the decision accepts a WebSocket at once", elsewhere: "only a request without a body can become a WebSocket" },
  webSocketRefused: { means: "the decision refuses a WebSocket", elsewhere: "only a request without a body can become a WebSocket" },
  pooled: { means: "the target is known, and an idle connection leads to it", elsewhere: "no target is awaited" },
  unpooled: { means: "the target is known, and no idle connection leads to it", elsewhere: "no target is awaited" },
  connected: { means: "the connection is established", elsewhere: "no connection begins" },

  bodyCame: { means: "a piece of the request's body", elsewhere: "the body has ended, or the client's connection discards the rest" },
  requestEnded: { means: "the end of the request", elsewhere: "it has ended, or the client's connection discards the rest" },

  interimCame: { means: "the head of a 1xx response", elsewhere: "the container has no request without a response" },
  switched: { means: "the 101 response that the client requested", elsewhere: "a WebSocket's request has no body and one response" },
  intercepted: { means: "the head of a response to be replaced; no byte of a body was sent", elsewhere: "a response is replaced before it begins" },
  interceptedLate: { means: "the same after a part of the body was sent", elsewhere: "a response is replaced before it begins" },
  responseCame: {
    means: "the head of the final response, and maybe bytes of its body",
    elsewhere: "the container has no request without a response",
  },
  responseBytesCame: { means: "later bytes", elsewhere: "no response has begun" },
  responseEnded: { means: "the end of the response; the connection can be used again", elsewhere: "no response has begun" },
  responseEndedUnclean: { means: "the end of the response; the connection cannot be used again", elsewhere: "no response has begun" },
  containerLost: { means: "the container's connection ended", elsewhere: "no container is connected" },
  containerLostUnframed: { means: "the same, within a response whose framing does not show it", elsewhere: "no response has begun" },
  staleLost: {
    means: "the same, before a byte of the response, after earlier exchanges; the request can be repeated",
    elsewhere: "the request cannot be repeated",
  },
  failedOver: {
    means: "the same, and the lease will name another target; the request can be repeated, and was not yet",
    elsewhere: "the request cannot be repeated",
  },

  containerDrained: { means: "the container takes more", elsewhere: "no container is connected" },
  clientDrained: { means: "the client takes more", elsewhere: "the client's connection has no exchange" },

  headTimedOut: { means: "the response's head did not come in time", elsewhere: "this clock runs after the request, until the head comes" },
  bodyTimedOut: {
    means: "the body made no progress",
    elsewhere: "this clock runs while the body is sent, before the response has begun or after it has ended",
  },
  idleTimedOut: { means: "no byte passed for too long", elsewhere: "this clock runs while bytes of a body or a response are expected" },
  totalTimedOut: { means: "the exchange took too long", elsewhere: "this clock runs until the exchange is over" },
  revoked: { means: "the caller's session or right was revoked", elsewhere: "without a lease nothing is revoked" },
  failed: { means: "any other failure: of `decide`, of the lease, of the connect, of bytes that are not HTTP" },
  clientGone: { means: "the client left before the end", elsewhere: "the client's connection has no exchange" },
} as const;

/** They run in this order. What may cause another event, or begin the client's next exchange, is last. */
const ACTIONS = {
  queueBody: "queue the bytes until a container is connected",
  sendBody: "send the bytes to the container",
  sendInterim: "send the 1xx response to the client",
  sendResponseHead: "send the edited head and the bytes of the body to the client",
  sendResponse: "send the bytes to the client",
  resumeClient: "read the client again",
  resumeContainer: "read the container again",
  closeContainer: "close the container's connection",
  returnContainer: "give the container's connection to the pool",
  discardLease: "release the lease that came too late, unless it is the one of before",
  takeLease: "own the new lease, and release the previous one",
  release: "release the lease, and drop the queued bytes",
  sendHead: "send the edited head and the queued bytes to the container",
  startHeadClock: "start the clock of the response's head",
  locate: "request the target from the lease, then an idle connection from the pool",
  relocate: "request another target from the lease, then an idle connection from the pool",
  dial: "connect to the target",
  respond: "send berth's own answer",
  respondFault: "send the fault as answer",
  finish: "tell the client's connection that the response is complete",
  breakOff: "close the client's connection: the framing shows that bytes are missing",
  cut: "reset the client's connection: it must not take what it has for the whole",
  acceptWebSocket: "give the client's connection and the lease away",
  refuseWebSocket: "give the client's connection away",
  switchProtocols: "send the 101, and give both connections and the lease away",
} as const;

const DECIDING = ["DECIDING_OPEN", "DECIDING"] as const;
const REPLACING = ["REPLACING_OPEN", "REPLACING"] as const;
const ANSWERING = ["ANSWERING_OPEN", "ANSWERING"] as const;
/** A lease is owned, and no container has the request. */
const WAITING = ["HOLDING_OPEN", "HOLDING", "CONNECTING_OPEN", "CONNECTING", ...REPLACING, ...ANSWERING] as const;
const REQUESTED = ["SENDING", "AWAITING"] as const;
const RESPONDING = ["RESPONDING_OPEN", "RESPONDING"] as const;

export const EXCHANGE_TABLE: MachineTable<ExchangeState, ExchangeEvent, ExchangeAction> = {
  states: STATES,
  events: EVENTS,
  actions: ACTIONS,
  rows: [
    ["answered", [...DECIDING, ...REPLACING, ...ANSWERING], "OVER", "release", "respond"],
    ["leased", ["DECIDING_OPEN", "REPLACING_OPEN"], "HOLDING_OPEN", "takeLease", "locate"],
    ["leased", ["DECIDING", "REPLACING"], "HOLDING", "takeLease", "locate"],
    ["leased", ANSWERING, "OVER", "discardLease", "release", "respondFault"],
    ["webSocketAccepted", "DECIDING", "UPGRADED", "acceptWebSocket"],
    ["webSocketRefused", "DECIDING", "UPGRADED", "refuseWebSocket"],
    ["pooled", "HOLDING_OPEN", "SENDING", "sendHead"],
    ["pooled", "HOLDING", "AWAITING", "sendHead", "startHeadClock"],
    ["unpooled", "HOLDING_OPEN", "CONNECTING_OPEN", "dial"],
    ["unpooled", "HOLDING", "CONNECTING", "dial"],
    ["connected", "CONNECTING_OPEN", "SENDING", "sendHead"],
    ["connected", "CONNECTING", "AWAITING", "sendHead", "startHeadClock"],

    ["bodyCame", ["DECIDING_OPEN", "HOLDING_OPEN", "CONNECTING_OPEN", "REPLACING_OPEN"], "same", "queueBody"],
    ["bodyCame", ["SENDING", "RESPONDING_OPEN", "UPLOADING"], "same", "sendBody"],
    ["bodyCame", "ANSWERING_OPEN", "same"],
    ["requestEnded", "DECIDING_OPEN", "DECIDING"],
    ["requestEnded", "HOLDING_OPEN", "HOLDING"],
    ["requestEnded", "CONNECTING_OPEN", "CONNECTING"],
    ["requestEnded", "REPLACING_OPEN", "REPLACING"],
    ["requestEnded", "ANSWERING_OPEN", "ANSWERING"],
    ["requestEnded", "UPLOADING", "OVER", "returnContainer", "release", "finish"],
    ["requestEnded", "SENDING", "AWAITING", "startHeadClock"],
    ["requestEnded", "RESPONDING_OPEN", "RESPONDING"],

    ["interimCame", REQUESTED, "same", "sendInterim"],
    ["switched", "AWAITING", "UPGRADED", "switchProtocols"],
    ["intercepted", "SENDING", "REPLACING_OPEN", "closeContainer"],
    ["intercepted", "AWAITING", "REPLACING", "closeContainer"],
    ["interceptedLate", "SENDING", "ANSWERING_OPEN", "closeContainer"],
    ["interceptedLate", "AWAITING", "ANSWERING", "closeContainer"],
    ["responseCame", "SENDING", "RESPONDING_OPEN", "sendResponseHead"],
    ["responseCame", "AWAITING", "RESPONDING", "sendResponseHead"],
    ["responseBytesCame", RESPONDING, "same", "sendResponse"],
    ["responseBytesCame", "UPLOADING", "OVER", "closeContainer", "release", "finish"],
    ["responseEnded", "RESPONDING_OPEN", "UPLOADING"],
    ["responseEnded", "RESPONDING", "OVER", "returnContainer", "release", "finish"],
    ["responseEndedUnclean", RESPONDING, "OVER", "closeContainer", "release", "finish"],

    ["containerLost", RESPONDING, "OVER", "closeContainer", "release", "breakOff"],
    ["containerLostUnframed", RESPONDING, "OVER", "closeContainer", "release", "cut"],
    ["staleLost", "AWAITING", "CONNECTING", "closeContainer", "dial"],
    ["failedOver", "AWAITING", "HOLDING", "closeContainer", "relocate"],

    ["containerDrained", [...REQUESTED, ...RESPONDING, "UPLOADING"], "same", "resumeClient"],
    ["clientDrained", [...REQUESTED, ...RESPONDING, "UPLOADING"], "same", "resumeContainer"],
    ["clientDrained", [...DECIDING, ...WAITING], "same"],

    [["totalTimedOut", "failed"], DECIDING, "OVER", "release", "respondFault"],
    [["totalTimedOut", "failed", "revoked"], WAITING, "OVER", "release", "respondFault"],
    ["headTimedOut", "AWAITING", "OVER", "closeContainer", "release", "respondFault"],
    [["bodyTimedOut", "idleTimedOut"], "SENDING", "OVER", "closeContainer", "release", "respondFault"],
    [["totalTimedOut", "failed", "revoked", "containerLost"], REQUESTED, "OVER", "closeContainer", "release", "respondFault"],
    [["idleTimedOut", "totalTimedOut", "failed", "revoked"], RESPONDING, "OVER", "closeContainer", "release", "cut"],
    // The client has the whole response.
    [
      ["bodyTimedOut", "idleTimedOut", "totalTimedOut", "failed", "revoked", "containerLost"],
      "UPLOADING",
      "OVER",
      "closeContainer",
      "release",
      "finish",
    ],
    ["clientGone", [...DECIDING, ...WAITING], "OVER", "release"],
    ["clientGone", [...REQUESTED, ...RESPONDING, "UPLOADING"], "OVER", "closeContainer", "release"],

    // What comes too late has no effect, and releases what it brought.
    [["answered", "webSocketRefused", "unpooled", "revoked", "failed"], "OVER", "same"],
    [["leased", "webSocketAccepted"], "OVER", "same", "discardLease"],
    ["connected", "OVER", "same", "closeContainer"],
    ["failed", "UPGRADED", "same"],
  ],
};

/** The hot path takes four steps: leased, pooled, responseCame, responseEnded. */
export const EXCHANGE = createMachine(EXCHANGE_TABLE);
