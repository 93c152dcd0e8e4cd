import { pino } from "pino";
import type { Clock } from "../lib/clock.ts";
import type { Count } from "../lib/metrics/open-metrics.ts";
import { maskedPath } from "../lib/masked-path.ts";
import type { AccessRecord, ExchangeLabels } from "./access-record.ts";
import { requestIdOf } from "./forwarded-headers.ts";

export type AccessLog = {
  /** Writes one line; never waits. */
  write(exchange: AccessRecord): void;
  /** Opens the file again, after it was renamed. */
  reopen(): void;
  close(): void;
};

type AccessLogDeps = {
  /** `stdout`, or a file's path. */
  to: string;
  /** Whether queries are written, which may contain secrets. */
  query: boolean;
  dropped: Count;
  clock: Clock;
  onError(error: Error): void;
};

/** Bytes that wait to be written; beyond it, lines are dropped and counted. */
const MAX_BUFFERED_BYTES = 4 * 1_048_576;
/** Several processes may write so much to a pipe at once without mixing their lines (PIPE_BUF). */
const MAX_WRITE_BYTES = 4_096;
const MIN_WRITE_BYTES = MAX_WRITE_BYTES / 2;
const FLUSH_MS = 250;
const MAX_PATH_LENGTH = 1_024;
const MAX_NAME_LENGTH = 200;

/** One line of JSON for each finished exchange, written outside the event loop. Never a token or key; a query only with `query`. */
export function openAccessLog({ to, query, dropped, clock, onError }: AccessLogDeps): AccessLog {
  const sink = pino.destination({
    dest: to === "stdout" ? 1 : to,
    sync: false,
    mode: 0o640,
    minLength: MIN_WRITE_BYTES,
    maxWrite: MAX_WRITE_BYTES,
    maxLength: MAX_BUFFERED_BYTES,
    periodicFlush: FLUSH_MS,
  });
  sink.on("drop", () => dropped.add());
  sink.on("error", onError);
  // The first field distinguishes these lines from others that go to the same output.
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
  const { labels, head, startedAt, firstByteAt, overAt } = exchange;
  const fault = exchange.fault ?? labels.fault;
  return {
    time: new Date(clock.now()).toISOString(),
    requestId: labels.ids?.requestId ?? (head && requestIdOf(head)),
    traceId: labels.ids?.traceparent.slice(3, 35),
    peer: exchange.peer,
    who: labels.login?.slice(0, MAX_NAME_LENGTH),
    protocol: exchange.protocol,
    method: head?.method,
    route: labels.route,
    container: labels.container?.slice(0, MAX_NAME_LENGTH),
    path: pathOf(exchange, query),
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

/** If the end of the path is masked, so is the query: a key may contain a `?`. */
function pathOf({ labels, head, status }: AccessRecord, query: boolean): string | undefined {
  if (head === undefined) return undefined;
  const [path = "", ...rest] = head.target.split("?");
  const published = head.method === "POST" && status >= 200 && status < 300;
  let text = maskedPath(path, { container: labels.container !== undefined || isRegistryPath(labels, path), published });
  if (query && rest.length > 0) text += text.endsWith("***") ? "?***" : `?${rest.join("?")}`;
  return text.length > MAX_PATH_LENGTH ? `${text.slice(0, MAX_PATH_LENGTH)}…` : text;
}

/** Such a path contains no key, and the names of repositories may look like one. */
function isRegistryPath({ route }: ExchangeLabels, path: string): boolean {
  return route !== "none" && route !== "api" && path.startsWith("/v2/");
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
