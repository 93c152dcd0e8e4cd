import type { Clock } from "../../lib/clock.ts";
import { createLineSplitter } from "../../lib/lines.ts";
import { backoffDelay } from "../../lib/backoff.ts";
import { Fault } from "../../lib/fault.ts";
import { type HttpStream, openHttpClient } from "../../lib/http-client.ts";
import type { Log } from "../../lib/log.ts";
import { FEED_BEAT_MS, FEED_SILENCE_MS, type FeedLine, type StandbyReply } from "../contract.ts";
import { isFaultData, type ControlGroup, type ControlLink, untrustedFault } from "./control-client.ts";
import type { Readable } from "node:stream";

/** Many times the 500 containers that control puts into one line. */
const LONGEST_LINE = 64 * 1_048_576;
const SILENCE = "silence";
const MAX_REFUSAL_BYTES = 65_536;
const RETRY = { firstMs: 100, longestMs: 2_000 };
/** Of several control processes, one should lead within seconds. */
const GROUP_RETRY = { firstMs: 50, longestMs: 500 };
/** A control process of several that does not answer within this time is passed over. After each round it gets so much more: a busy leader answers late. */
const GROUP_HEAD_MS = 1_500;
/**
 * A leader beats twice in `FEED_BEAT_MS`. A gateway that has missed four of them waits at a standby: at the end of the lease of a leader that is cut off, it is
 * there already.
 */
const GROUP_SILENCE_MS = 2 * FEED_BEAT_MS;
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
  /** The log line for the time without control. */
  awayMessage: string;
  clock: Clock;
  log: Log;
};

/**
 * Keeps the feed open. After an end, an error or `FEED_SILENCE_MS` without a line it opens the feed again, with growing and scattered delays, so that
 * many gateways do not call a control that has just started all at once.
 */
export function openFeedConnection({ link, path, onLine, onLost, onRefused, awayMessage, clock, log }: FeedConnectionDeps): FeedConnection {
  const { group } = link;
  const openClient = (to: ControlLink) =>
    openHttpClient({
      clock,
      maxBytes: MAX_REFUSAL_BYTES,
      // The silence timer of this connection is earlier.
      timeoutMs: 2 * FEED_SILENCE_MS,
      connect: to.connect,
      toFault: ({ why, cause }) => untrustedFault(cause, to) ?? new Error(why, { cause }),
    });
  let client = openClient(link);
  let closed = false;
  /** What the control processes of the current round did beside refusing. */
  let others = 0;
  let failures = 0;
  let isReported = false;
  let loseCurrent: (why: string) => void = () => undefined;
  let cancelSilence: () => void = () => undefined;
  let cancelRetry: () => void = () => undefined;

  const openAfter = (ms: number) => void (cancelRetry = clock.after(ms * (0.5 + Math.random() / 2), open));
  const openRefused = (fault: Fault) => {
    onRefused(fault);
    isReported = true;
    openAfter(REFUSED_DELAY_MS);
  };
  /** Tries the leader that this control process named, or the next one. A refusal counts if every control process refuses. */
  const moveOn = (to: ControlGroup, why: string | Fault, { leader, problem }: StandbyHints) => {
    const isRefusal = why instanceof Fault && why.code !== "CONTROL_STANDBY";
    if (!isRefusal) others++;
    const text = why instanceof Fault ? why.message : why;
    to.disconnected(`${link.name}: ${problem ?? text}`, problem !== undefined);
    const isRound = to.moveOn(leader);
    if (isRound && isRefusal && others === 0) return openRefused(why);
    report(text);
    if (!isRound) return openAfter(GROUP_RETRY.firstMs);
    others = 0;
    openAfter(backoffDelay(to.canFailOver() ? GROUP_RETRY : RETRY, ++failures));
  };
  const report = (why: string) => {
    log[isReported ? "debug" : "warn"]({ why, control: link.name }, awayMessage);
    isReported = true;
  };

  const open = () => {
    const ended = new AbortController();
    if (group !== undefined) {
      client.close();
      client = openClient(group.current());
    }
    const lost = (why: string | Fault, hints: StandbyHints = {}) => {
      if (ended.signal.aborted) return;
      ended.abort();
      cancelSilence();
      if (closed) return;
      onLost(why === SILENCE);
      if (group) return moveOn(group, why, hints);
      if (why instanceof Fault) return openRefused(why);
      report(why);
      openAfter(backoffDelay(RETRY, ++failures));
    };
    loseCurrent = lost;
    const restartSilence = () => {
      cancelSilence();
      cancelSilence = clock.after(group?.canFailOver() ? GROUP_SILENCE_MS : FEED_SILENCE_MS, () => lost(SILENCE));
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
          others = 0;
          isReported = false;
        }
      });
    };
    client
      .stream({
        url: `http://localhost${path()}`,
        headers: link.headers(),
        signal: ended.signal,
        ...(group && group.size() > 1 ? { timeoutMs: Math.min(FEED_SILENCE_MS, GROUP_HEAD_MS * (1 + failures)) } : {}),
      })
      .then(async (reply) => (reply.status === 200 ? read(reply.stream) : lost(...(await refusalOf(reply)))))
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

/** `host:port` of the leader; why none leads. */
type StandbyHints = { leader?: string | undefined; problem?: string | undefined };

/** Why control does not send the feed: a fault if it refuses this gateway. A standby names the leader, or why none leads. */
async function refusalOf(reply: HttpStream): Promise<[why: string | Fault, hints?: StandbyHints]> {
  try {
    const body: unknown = JSON.parse((await reply.read()).text());
    if (isFaultData(body) && body.code === "GATEWAY_REFUSED") return [Fault.from(body)];
    if (isFaultData(body) && body.code === "CONTROL_STANDBY") return [body.message, { leader: leaderOf(body), problem: problemOf(body) }];
  } catch {
    // Not one of control's own replies.
  }
  return [`status ${reply.status}`];
}

function problemOf({ problem }: StandbyReply): string | undefined {
  return typeof problem === "string" ? problem : undefined;
}

/** `host:port` of the leader in a standby's reply. */
function leaderOf(body: StandbyReply): string | undefined {
  const url = typeof body.leader === "string" && URL.canParse(body.leader) ? new URL(body.leader) : undefined;
  return url && `${url.hostname.replaceAll(/^\[|\]$/g, "")}:${url.port || (url.protocol === "https:" ? 443 : 80)}`;
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
