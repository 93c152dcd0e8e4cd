import type { Clock } from "../../lib/clock.ts";
import { createLineSplitter } from "../../lib/split-lines.ts";
import { backoffDelay } from "../../lib/backoff.ts";
import { Fault } from "../../lib/fault.ts";
import { type HttpStream, openHttpClient } from "../../lib/http-client.ts";
import type { Log } from "../../lib/log.ts";
import { FEED_SILENCE_MS, type FeedLine } from "../contract.ts";
import { isFaultData, type ControlLink, untrustedFault } from "./control-client.ts";
import type { Readable } from "node:stream";

/** Many times the 500 containers that control puts into one line. */
const LONGEST_LINE = 64 * 1_048_576;
const SILENCE = "silence";
const MAX_REFUSAL_BYTES = 65_536;
const RETRY = { firstMs: 100, longestMs: 2_000 };
/** An administrator has to act first. Each attempt logs the reason. */
const REFUSED_DELAY_MS = 30_000;

type FeedConnection = {
  /** Opens it again, as after a silence. */
  reopen(why: string): void;
  close(): void;
};

type FeedConnectionDeps = {
  link: ControlLink;
  /** The path of the next request. */
  path(): string;
  /** Throws a fault if this gateway cannot work with this control plane. */
  onLine(line: FeedLine): void;
  /** `isSilent`: nothing ended the connection, so other requests to control may never get a reply. */
  onLost(isSilent: boolean): void;
  /** Control refuses this gateway, or is not the configured one. The next attempt follows after a delay. */
  onRefused(fault: Fault): void;
  clock: Clock;
  log: Log;
};

/**
 * Keeps the feed open. After an end, an error or `FEED_SILENCE_MS` without a line it opens the feed again, with growing and scattered delays, so that
 * many gateways do not call a control that has just started all at once.
 */
export function openFeedConnection({ link, path, onLine, onLost, onRefused, clock, log }: FeedConnectionDeps): FeedConnection {
  const client = openHttpClient({
    clock,
    maxBytes: MAX_REFUSAL_BYTES,
    // The silence timer of this connection is earlier.
    timeoutMs: 2 * FEED_SILENCE_MS,
    connect: link.connect,
    toFault: ({ why, cause }) => untrustedFault(cause, link) ?? new Error(why, { cause }),
  });
  let closed = false;
  let failures = 0;
  let isReported = false;
  let loseCurrent: (why: string) => void = () => undefined;
  let cancelSilence: () => void = () => undefined;
  let cancelRetry: () => void = () => undefined;

  const open = () => {
    const ended = new AbortController();
    const lost = (why: string | Fault) => {
      if (ended.signal.aborted) return;
      ended.abort();
      cancelSilence();
      if (closed) return;
      onLost(why === SILENCE);
      if (why instanceof Fault) {
        onRefused(why);
        isReported = true;
        return void (cancelRetry = clock.after(REFUSED_DELAY_MS * (0.5 + Math.random() / 2), open));
      }
      log[isReported ? "debug" : "warn"]({ why, control: link.name }, "control is away: known containers are served, none is started");
      isReported = true;
      const delay = backoffDelay(RETRY, ++failures);
      cancelRetry = clock.after(delay * (0.5 + Math.random() / 2), open);
    };
    loseCurrent = lost;
    const restartSilence = () => {
      cancelSilence();
      cancelSilence = clock.after(FEED_SILENCE_MS, () => lost(SILENCE));
    };
    restartSilence();
    const read = (stream: Readable) => {
      stream.on("error", (error) => lost(error.message));
      stream.once("end", () => lost("ended"));
      stream.once("close", () => lost("closed"));
      readLines(stream, LONGEST_LINE, (text) => {
        if (ended.signal.aborted) return;
        restartSilence();
        const line = parseLine(text);
        if (line === undefined) return lost("a line that is not JSON");
        try {
          onLine(line);
        } catch (error) {
          if (!(error instanceof Fault)) throw error;
          return lost(error);
        }
        if (line.kind === "all") {
          failures = 0;
          isReported = false;
        }
      });
    };
    client
      .stream({ url: `http://localhost${path()}`, headers: link.headers(), signal: ended.signal })
      .then(async (reply) => (reply.status === 200 ? read(reply.stream) : lost(await refusalOf(reply))))
      .catch((error: Error) => lost(error instanceof Fault ? error : error.message));
  };

  open();
  return {
    reopen: (why) => loseCurrent(why),
    close: () => {
      closed = true;
      cancelRetry();
      loseCurrent("closed");
      client.close();
    },
  };
}

/** Why control does not send the feed. A fault if it refuses this gateway. */
async function refusalOf(reply: HttpStream): Promise<string | Fault> {
  try {
    const body: unknown = JSON.parse((await reply.read()).text());
    if (isFaultData(body) && body.code === "GATEWAY_REFUSED") return Fault.from(body);
  } catch {
    // Not one of control's own replies.
  }
  return `status ${reply.status}`;
}

/** The other end is our own program, of the same wire version: only the JSON syntax is checked. */
function parseLine(text: string): FeedLine | undefined {
  try {
    return JSON.parse(text) as FeedLine;
  } catch {
    return undefined;
  }
}

/** Calls `onLine` with each line of a stream; one that grows beyond `limit` characters destroys it. */
export function readLines(stream: Readable, limit: number, onLine: (line: string) => void): void {
  const splitter = createLineSplitter();
  stream.on("data", (chunk: Buffer) => {
    for (const line of splitter.push(chunk)) onLine(line);
    if (splitter.pending > limit) stream.destroy(new Error("a line of the feed is too long"));
  });
}
