import { pino } from "pino";
import type { Clock } from "../lib/clock.ts";
import type { Count } from "../lib/metrics/open-metrics.ts";
import { maskedPath } from "../lib/masked-path.ts";
import type { ExchangeLabels, AccessRecord } from "./access-record.ts";
import { requestIdOf } from "./forwarded-headers.ts";

export type AccessLog = {
  /** Writes one line; never waits. */
  write(exchange: AccessRecord): void;
  /** Goes on in a new file under the same name: the one before was moved away. */
  reopen(): void;
  close(): void;
};

export type AccessLogDeps = {
  /** `stdout`, or a file's path. */
  to: string;
  /** Whether the query of a target is written, in which there may be secrets. */
  query: boolean;
  dropped: Count;
  clock: Clock;
  onError(error: Error): void;
};

/** What waits to be written at most; beyond it lines are dropped, and counted. */
const MOST_WAITING = 4 * 1_048_576;
/** Of a pipe, several processes may write so much at once without one's line getting into another's (PIPE_BUF). */
const AT_ONCE = 4_096;
const ENOUGH = AT_ONCE / 2;
const FLUSH_MS = 250;
const LONGEST_PATH = 1_024;
const LONGEST_NAME = 200;

/** One line of JSON for each exchange that is over, written beside the event loop. No token, no key, and no query unless that is wished. */
export function openAccessLog({ to, query, dropped, clock, onError }: AccessLogDeps): AccessLog {
  const sink = pino.destination({
    dest: to === "stdout" ? 1 : to,
    sync: false,
    mode: 0o640,
    minLength: ENOUGH,
    maxWrite: AT_ONCE,
    maxLength: MOST_WAITING,
    periodicFlush: FLUSH_MS,
  });
  sink.on("drop", () => dropped.add());
  sink.on("error", onError);
  // What else a container writes to the same place is told from it by its first field.
  const log = pino({ base: null, timestamp: false, formatters: { level: () => ({ log: "access" }) } }, sink);

  return {
    write: (exchange) => log.info(lineOf(exchange, query, clock)),
    reopen: () => {
      if (to !== "stdout") sink.reopen();
    },
    close: () => sink.end(),
  };
}

function lineOf(exchange: AccessRecord, query: boolean, clock: Clock): Record<string, unknown> {
  const { labels: about, head, startedAt, firstByteAt, overAt } = exchange;
  const fault = exchange.fault ?? about.fault;
  return {
    time: new Date(clock.now()).toISOString(),
    requestId: about.requestId ?? (head && requestIdOf(head.header)),
    traceId: about.traceparent?.slice(3, 35),
    peer: exchange.peer,
    who: about.login?.slice(0, LONGEST_NAME),
    method: head?.method,
    route: about.route,
    container: about.container?.slice(0, LONGEST_NAME),
    path: shown(exchange, query),
    status: exchange.status,
    fault,
    ending: exchange.ending,
    bytesIn: exchange.bytesIn,
    bytesOut: exchange.bytesOut,
    identityMs: tenths(exchange.identityMs),
    holdMs: tenths(exchange.holdMs),
    connectMs: tenths(exchange.connectMs),
    firstByteMs: firstByteAt === 0 ? undefined : tenths(firstByteAt - startedAt),
    totalMs: tenths(overAt - startedAt),
  };
}

/** A query goes with the path that it is masked with: a key may hold a `?`. */
function shown({ labels: about, head, status }: AccessRecord, query: boolean): string | undefined {
  if (head === undefined) return undefined;
  const [path = "", ...rest] = head.target.split("?");
  const published = head.method === "POST" && status >= 200 && status < 300;
  let text = maskedPath(path, { container: about.container !== undefined || isOfRegistry(about, path), published });
  if (query && rest.length > 0) text += text.endsWith("***") ? "?***" : `?${rest.join("?")}`;
  return text.length > LONGEST_PATH ? `${text.slice(0, LONGEST_PATH)}…` : text;
}

/** Repositories may have any word in their names, and no key is in such a path. */
function isOfRegistry({ route }: ExchangeLabels, path: string): boolean {
  return route !== "none" && route !== "api" && path.startsWith("/v2/");
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
