import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { FastifyReply, FastifyInstance } from "fastify";
import type { Clock } from "../../../lib/clock.ts";
import { withTimeout } from "../../../lib/deadline.ts";
import type { Log } from "../../../lib/log.ts";
import type { Driver } from "../../driver.ts";
import { BEAT_MS, LINES } from "../wire.ts";
import { answers, EVENT } from "./wire-schemas.ts";
import { createBulkhead } from "./work.ts";

/** A failure within this time is answered with its status. */
const HEAD_MS = 300;
/** A client that reads nothing for this time counts as gone. */
const DRAIN_MS = 30_000;

/** Streaming responses: a limited number, each as fast as its client reads. */
export type Streams = {
  /** Text as it arrives. If it breaks off, so does the response. Faults: SPAWNER_BUSY; those of `open` within 300 ms. */
  text(reply: FastifyReply, open: (signal: AbortSignal) => AsyncIterable<string>): Promise<void>;
  /** A JSON value in each line, and empty lines as heartbeats. */
  lines(reply: FastifyReply, open: (signal: AbortSignal) => AsyncIterable<object>): Promise<void>;
};

export function openStreams({ most, clock, log }: { most: number; clock: Clock; log: Log }): Streams {
  const bulkhead = createBulkhead(most, "streams");
  return {
    text: (reply, open) => send(reply, "text/plain; charset=utf-8", undefined, open),
    lines: (reply, open) =>
      send(reply, LINES, "\n", async function* (signal) {
        for await (const value of open(signal)) yield `${JSON.stringify(value)}\n`;
      }),
  };

  async function send(reply: FastifyReply, type: string, beat: string | undefined, open: (signal: AbortSignal) => AsyncIterable<string>) {
    const leave = bulkhead.enter();
    const { raw } = reply;
    const done = new AbortController();
    raw.once("close", () => done.abort(new Error("The client went away.")));
    const pieces = open(done.signal)[Symbol.asyncIterator]();
    let stopBeating = () => {};
    const beats = () => {
      if (beat === undefined) return;
      stopBeating();
      stopBeating = clock.after(BEAT_MS, () => {
        if (!raw.writableNeedDrain) raw.write(beat);
        beats();
      });
    };
    try {
      const first = pieces.next();
      await atOnce(first, done.signal);
      reply.hijack();
      raw.writeHead(200, { "content-type": type, "cache-control": "no-store", "x-accel-buffering": "no" });
      raw.flushHeaders();
      beats();
      for (let next = await first; !next.done; next = await pieces.next()) {
        await write(raw, next.value, done.signal);
        beats();
      }
      raw.end();
    } catch (error) {
      if (!raw.headersSent && !done.signal.aborted) throw error;
      log.debug({ err: error }, "response broke off");
      reply.hijack();
      raw.destroy();
    } finally {
      stopBeating();
      done.abort(new Error("The response has ended."));
      pieces.return?.().catch(() => undefined);
      leave();
    }
  }

  /** Waits a moment for a failure. */
  async function atOnce(first: Promise<unknown>, signal: AbortSignal): Promise<void> {
    const settled = new AbortController();
    const late = clock.sleep(HEAD_MS, AbortSignal.any([signal, settled.signal])).catch(() => undefined);
    try {
      await Promise.race([first, late]);
    } finally {
      settled.abort(new Error("The first piece has arrived."));
    }
    first.catch(() => undefined);
    signal.throwIfAborted();
  }

  async function write(raw: ServerResponse, piece: string, signal: AbortSignal): Promise<void> {
    if (raw.write(piece)) return;
    const overdue = () => new Error("The client reads nothing any more.");
    await withTimeout({ clock, ms: DRAIN_MS, overdue, signal }, (own) => once(raw, "drain", { signal: own }));
  }
}

/** Aborts when the client goes away before its response is complete. */
export function clientGone(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) gone.abort(new Error("The client went away."));
  });
  return gone.signal;
}

/** Streams the driver's events. */
export function eventRoutes(app: FastifyInstance, { driver, streams }: { driver: Driver; streams: Streams }): void {
  app.get(
    "/events",
    {
      schema: {
        tags: ["services"],
        summary: "A line whenever a service may have changed; `connected` if events may have been missed",
        response: answers({ description: "Lines", content: { [LINES]: { schema: EVENT } } }),
      },
    },
    (_request, reply) =>
      streams.lines(reply, async function* (signal) {
        for await (const event of driver.events({ signal }))
          yield event.kind === "connected" && driver.watchedAddresses ? { ...event, watchedAddresses: true } : event;
      }),
  );
}
