import { request as httpRequest, type ClientRequest } from "node:http";
import type { Clock } from "../../clock.ts";
import type { Log } from "../../log.ts";
import { FEED_SILENCE_MS, type FeedLine } from "../wire.ts";
import { readLines } from "./read-lines.ts";

/** Many times what control puts into one, which is 500 containers. */
const LONGEST_LINE = 64 * 1_048_576;
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 2_000;

/**
 * Keeps the feed open: after an end, an error or `FEED_SILENCE_MS` without a line it is opened anew, with growing and scattered
 * delays, so that many gateways do not meet a control that comes back all at once. The returned function ends it.
 */
export function keepFeed(parts: { socketPath: string; clock: Clock; log: Log; onLine(line: FeedLine): void; onLost(): void }): () => void {
  const { socketPath, clock, log, onLine, onLost } = parts;
  let closed = false;
  let failures = 0;
  let sent: ClientRequest | undefined;
  let cancelSilence: () => void = () => undefined;
  let cancelRetry: () => void = () => undefined;

  const open = () => {
    const current = httpRequest({ socketPath, path: "/feed", agent: false });
    sent = current;
    let over = false;
    const lost = (why: string) => {
      if (over) return;
      over = true;
      cancelSilence();
      current.destroy();
      if (closed) return;
      onLost();
      log.debug({ why }, "The feed of the control plane is lost");
      const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** failures++);
      cancelRetry = clock.after(delay * (0.5 + Math.random() / 2), open);
    };
    const listen = () => {
      cancelSilence();
      cancelSilence = clock.after(FEED_SILENCE_MS, () => lost("silence"));
    };
    listen();
    current.on("error", (error) => lost(error.message));
    current.once("close", () => lost("closed"));
    current.once("response", (answer) => {
      if (answer.statusCode !== 200) return lost(`status ${answer.statusCode}`);
      answer.on("error", (error) => lost(error.message));
      answer.once("end", () => lost("ended"));
      readLines(answer, LONGEST_LINE, (text) => {
        if (over) return;
        listen();
        const line = readLine(text);
        if (line === undefined) return lost("a line that is no JSON");
        if (line.kind === "all") failures = 0;
        onLine(line);
      });
    });
    current.end();
  };

  open();
  return () => {
    closed = true;
    cancelRetry();
    cancelSilence();
    sent?.destroy();
  };
}

/** The other end is our own program, of the same version: beyond being JSON, a line is trusted. */
function readLine(text: string): FeedLine | undefined {
  try {
    return JSON.parse(text) as FeedLine;
  } catch {
    return undefined;
  }
}
