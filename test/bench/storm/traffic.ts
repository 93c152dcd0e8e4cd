import { Pool } from "undici";
import { pause } from "../../fixtures/clock.ts";

/** How long each of many calls took, and how many had another status than 200. */
export type Figures = { count: number; failed: string; p50: number; p99: number; max: number };

export type Traffic = { stop(): Promise<Figures> };

/** What is called: a path below `origin`, by the holder of this token. */
export type TrafficTarget = { origin: string; path: string; token: string };

/**
 * Calls again and again, `clients` at a time, with `pauseMs` between two calls of one. Not by `fetch`, which takes several times the processor time: on two cores the
 * starts would not get it.
 */
export function startTraffic({ origin, path, token }: TrafficTarget, { clients, pauseMs }: { clients: number; pauseMs: number }): Traffic {
  const pool = new Pool(origin, { connections: clients });
  const times: number[] = [];
  const failed: string[] = [];
  const over = new AbortController();
  const client = async () => {
    while (!over.signal.aborted) {
      const began = performance.now();
      const failure = await pool.request({ path, method: "GET", headers: { authorization: token } }).then(
        async ({ statusCode, body }) => {
          const text = await body.text();
          return statusCode === 200 ? undefined : text;
        },
        (error: unknown) => String(error),
      );
      times.push(performance.now() - began);
      if (failure !== undefined) failed.push(failure.slice(0, 200));
      await pause(pauseMs);
    }
  };
  const all = Promise.all(Array.from({ length: clients }, client));
  return {
    stop: async () => {
      over.abort();
      await all;
      await pool.close();
      return figuresOf(times, failed.length === 0 ? "0 failed" : `${failed.length} failed (${failed[0]})`);
    },
  };
}

export function figuresOf(times: readonly number[], failed = ""): Figures {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  return { count: sorted.length, failed, p50: at(0.5), p99: at(0.99), max: sorted.at(-1) ?? 0 };
}
