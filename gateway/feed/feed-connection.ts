import { request as httpRequest, type ClientRequest, type IncomingMessage } from "node:http";
import type { Clock } from "../../lib/clock.ts";
import { createLineSplitter } from "../../lib/split-lines.ts";
import { backoffDelay } from "../../lib/backoff.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { FEED_SILENCE_MS, type FeedLine } from "../contract.ts";
import { isFaultData, agentOf, type ControlLink, distrust } from "./control-client.ts";
import type { Readable } from "node:stream";

/** Many times what control puts into one, which is 500 containers. */
const LONGEST_LINE = 64 * 1_048_576;
const SILENCE = "silence";
const LONGEST_REFUSAL = 65_536;
const RETRY = { firstMs: 100, longestMs: 2_000 };
/** A person has to do something first, and is told so each time. */
const REFUSED_DELAY_MS = 30_000;

export type FeedConnection = {
  /** Opens it anew, as after a silence. */
  renew(why: string): void;
  close(): void;
};

export type FeedConnectionDeps = {
  link: ControlLink;
  /** What the feed is asked by, each time. */
  path(): string;
  /** May throw the fault for which nothing can be done with this control plane. */
  onLine(line: FeedLine): void;
  /** `isSilent`: where it went nobody said, so what else was asked of control may never be answered. */
  onLost(isSilent: boolean): void;
  /** Control does not let this gateway in, or is not the one that is meant. It is asked again after a while. */
  onRefused(fault: Fault): void;
  clock: Clock;
  log: Log;
};

/**
 * Keeps the feed open: after an end, an error or `FEED_SILENCE_MS` without a line it is opened anew, with growing and scattered
 * delays, so that many gateways do not meet a control that comes back all at once.
 */
export function openFeedConnection({ link, path, onLine, onLost, onRefused, clock, log }: FeedConnectionDeps): FeedConnection {
  const agent = agentOf(link, { keepAlive: false });
  let closed = false;
  let failures = 0;
  let told = false;
  let sent: ClientRequest | undefined;
  let loseCurrent: (why: string) => void = () => undefined;
  let cancelSilence: () => void = () => undefined;
  let cancelRetry: () => void = () => undefined;

  const open = () => {
    const current = httpRequest({ path: path(), agent, headers: link.headers() });
    sent = current;
    let over = false;
    const lost = (why: string | Fault) => {
      if (over) return;
      over = true;
      cancelSilence();
      current.destroy();
      if (closed) return;
      onLost(why === SILENCE);
      if (why instanceof Fault) {
        onRefused(why);
        told = true;
        return void (cancelRetry = clock.after(REFUSED_DELAY_MS * (0.5 + Math.random() / 2), open));
      }
      log[told ? "debug" : "warn"]({ why, control: link.name }, "The control plane is away: what is known is served, nothing is woken");
      told = true;
      const delay = backoffDelay(RETRY, ++failures);
      cancelRetry = clock.after(delay * (0.5 + Math.random() / 2), open);
    };
    loseCurrent = lost;
    const listen = () => {
      cancelSilence();
      cancelSilence = clock.after(FEED_SILENCE_MS, () => lost(SILENCE));
    };
    listen();
    current.on("error", (error) => lost(distrust(error, link) ?? error.message));
    const onClose = () => lost("closed");
    current.once("close", onClose);
    current.once("response", (answer) => {
      if (answer.statusCode !== 200) {
        // What it says is still being read when it is over.
        current.off("close", onClose);
        return void refusalIn(answer).then(lost);
      }
      answer.on("error", (error) => lost(error.message));
      answer.once("end", () => lost("ended"));
      readLines(answer, LONGEST_LINE, (text) => {
        if (over) return;
        listen();
        const line = readLine(text);
        if (line === undefined) return lost("a line that is no JSON");
        try {
          onLine(line);
        } catch (error) {
          if (!(error instanceof Fault)) throw error;
          return lost(error);
        }
        if (line.kind === "all") {
          failures = 0;
          told = false;
        }
      });
    });
    current.end();
  };

  open();
  return {
    renew: (why) => loseCurrent(why),
    close: () => {
      closed = true;
      cancelRetry();
      cancelSilence();
      sent?.destroy();
      agent.destroy();
    },
  };
}

/** Why control does not give the feed. A fault where it does not let this gateway in. */
async function refusalIn(answer: IncomingMessage): Promise<string | Fault> {
  const status = `status ${answer.statusCode}`;
  let text = "";
  try {
    for await (const piece of answer) {
      text += String(piece);
      if (text.length > LONGEST_REFUSAL) return status;
    }
    const said: unknown = JSON.parse(text);
    return isFaultData(said) && said.code === "GATEWAY_REFUSED" ? Fault.from(said) : status;
  } catch {
    return status;
  }
}

/** The other end is our own program, of the same wire version: beyond being JSON, a line is trusted. */
function readLine(text: string): FeedLine | undefined {
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
