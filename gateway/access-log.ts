import type { Clock } from "../lib/clock.ts";
import type { Count } from "../lib/metrics/open-metrics.ts";
import { AccessLineWriter } from "./access-line.ts";
import type { AccessRecord } from "./access-record.ts";
import { LineFile } from "./line-file.ts";

export type AccessLog = {
  /** Writes one line; never waits. */
  write(exchange: AccessRecord): void;
  /** Opens the file again, after it was renamed. */
  reopen(): void;
  /** Writes the lines that wait, if the reader takes them. */
  close(): Promise<void>;
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

/** One line of JSON for each finished exchange. Never a token or key; a query only with `query`. */
export function openAccessLog({ to, query, dropped, clock, onError }: AccessLogDeps): AccessLog {
  const line = new AccessLineWriter({ query, clock });
  const file = new LineFile({ path: to === "stdout" ? undefined : to, dropped, clock, onError });
  return {
    write: (exchange) => {
      const length = line.write(exchange);
      file.append(line.bytes, length);
    },
    reopen: () => {
      if (to !== "stdout") file.reopen();
    },
    close: () => file.close(),
  };
}
