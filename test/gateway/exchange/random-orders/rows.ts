import { expandRows } from "../../../../gateway/exchange/state-machine.ts";
import { CLIENT, CLIENT_TABLE } from "../../../../gateway/exchange/client-machine.ts";
import { EXCHANGE, EXCHANGE_TABLE } from "../../../../gateway/exchange/machine.ts";

/** Rows that random clients and containers do not take, and why. `machine.test.ts` takes each of them, without sockets. */
const NOT_TAKEN: readonly (readonly [why: string, rows: RegExp])[] = [
  ["the test's directory and identity decide within the turn", /^exchange: (?!leased)\w+ in DECIDING(_OPEN)?$/],
  ["no response is replaced: intercept.test.ts", /^exchange: (intercepted(Late)? in \w+|\w+ in (REPLACING|ANSWERING)(_OPEN)?)$/],
  ["WebSockets wait for their container's 101: accept-websocket.test.ts", /^exchange: (webSocket\w+ in \w+|failed in UPGRADED)$/],
  ["no session ends: credentials.test.ts", /^exchange: revoked in/],
  ["the gateway does not drain, and has enough places: drain.test.ts, connections.test.ts", /^client: (draining|crowded) in/],
  ["containers accept every connection: suspect-address.test.ts", /^exchange: failed in (HOLDING|CONNECTING)(_OPEN)?$/],
  ["containers do not fail over: api-failover.test.ts", /^exchange: failedOver in AWAITING$/],
  ["the kernel queues whole bodies: limits.test.ts", /^exchange: (containerDrained in|clientDrained in (?!RESPONDING$))/],
  ["a shorter limit strikes first: time-limits.test.ts", /^exchange: idleTimedOut in (SENDING|RESPONDING_OPEN|UPLOADING)$/],
  ["the same", /^exchange: totalTimedOut in (AWAITING|HOLDING|HOLDING_OPEN|RESPONDING_OPEN|UPLOADING)$/],
  ["an exchange that is over awaits nothing", /^exchange: (answered|leased|unpooled|failed) in OVER$/],
  ["a response overtakes its request for a moment", /^exchange: (?!responseEnded|bodyCame|requestEnded)\w+ in UPLOADING$/],
  ["the same", /^exchange: (requestEnded|containerLost|containerLostUnframed|clientGone|failed) in RESPONDING_OPEN$/],
  ["the same", /^client: (?!requestEnded in DROP$)\w+ in (DROP|DROP_LAST)$/],
  ["the same", /^client: (refused|brokenOff|cut|leftUnframed) in BODY$/],
  ["containers send what is no HTTP as a whole response", /^exchange: failed in (SENDING|RESPONDING)$/],
  ["a client leaves within a moment", /^(exchange: clientGone in (HOLDING|HOLDING_OPEN)|client: leftUnframed in WAIT)$/],
];

/** Rows that some hundred clients may miss. */
const SELDOM: readonly RegExp[] = [
  /^exchange: (bodyCame|requestEnded) in (HOLDING_OPEN|UPLOADING)$/,
  /^exchange: (bodyCame|responseBytesCame|responseEnded|responseEndedUnclean) in RESPONDING_OPEN$/,
  /^exchange: (interimCame|responseCame|bodyTimedOut|totalTimedOut|containerLost|clientGone) in SENDING$/,
  /^exchange: (containerLost|containerLostUnframed|clientDrained|idleTimedOut|totalTimedOut|clientGone) in RESPONDING$/,
  /^exchange: (staleLost|headTimedOut|failed) in AWAITING$/,
  /^exchange: (totalTimedOut|clientGone) in CONNECTING(_OPEN)?$/,
  /^exchange: connected in OVER$/,
  /^client: (refused|timedOut|closed) in (IDLE|HEAD)$/,
  /^client: (answered|answeredLast|left|closed) in BODY$/,
  /^client: (brokenOff|cut|left) in WAIT$/,
  /^client: requestEnded in DROP$/,
  /^client: timedOut in CLOSING$/,
];

/** Rows that were to be taken, and were not. `isLong`: by thousands of clients. */
export function missingRows(taken: ReadonlyMap<string, number>, isLong: boolean): string[] {
  const excused = [...NOT_TAKEN.map(([, rows]) => rows), ...(isLong ? [] : SELDOM)];
  return [...taken].flatMap(([row, count]) => (count > 0 || excused.some((rows) => rows.test(row)) ? [] : [row]));
}

/** Counts how often each row of the tables is taken, until the returned function is called, which returns that. */
export function recordRows(): () => Map<string, number> {
  const rows = [
    ...expandRows(EXCHANGE_TABLE).map(({ event, from }) => `exchange: ${event} in ${from}`),
    ...expandRows(CLIENT_TABLE).map(({ event, from }) => `client: ${event} in ${from}`),
  ];
  const taken = new Map(rows.map((row) => [row, 0]));
  const restore = [watchRows(EXCHANGE, taken, "exchange"), watchRows(CLIENT, taken, "client")];
  return () => {
    for (const act of restore) act();
    return taken;
  };
}

type NamedMachine = { state: Readonly<Record<string, number>>; event: Readonly<Record<string, number>>; next(state: number, event: number): number };

function watchRows(machine: NamedMachine, taken: Map<string, number>, name: string): () => void {
  const [states, events] = [namesOf(machine.state), namesOf(machine.event)];
  const next = machine.next.bind(machine);
  Reflect.set(machine, "next", (state: number, event: number) => {
    const row = `${name}: ${events[event]} in ${states[state]}`;
    taken.set(row, (taken.get(row) ?? 0) + 1);
    return next(state, event);
  });
  return () => void Reflect.set(machine, "next", next);
}

function namesOf(numbered: Readonly<Record<string, number>>): string[] {
  return Object.entries(numbered)
    .toSorted(([, one], [, other]) => one - other)
    .map(([name]) => name);
}
