import { pause } from "../../fixtures/clock.ts";

/** How long each of many calls took, and how many had another status than 200. */
export type Figures = { count: number; failed: string; p50: number; p99: number; max: number };

export type Traffic = { stop(): Promise<Figures> };

/** Calls again and again, `clients` at a time, with `pauseMs` between two calls of one. */
export function startTraffic(call: () => Promise<Response>, { clients, pauseMs }: { clients: number; pauseMs: number }): Traffic {
  const times: number[] = [];
  const failed: string[] = [];
  const over = new AbortController();
  const client = async () => {
    while (!over.signal.aborted) {
      const began = performance.now();
      const answer = await call().catch((error: unknown) => String(error instanceof Error ? (error.cause ?? error) : error));
      const body = typeof answer === "string" ? answer : await answer.text();
      times.push(performance.now() - began);
      if (typeof answer === "string" || answer.status !== 200) failed.push(body.slice(0, 200));
      await pause(pauseMs);
    }
  };
  const all = Promise.all(Array.from({ length: clients }, client));
  return {
    stop: async () => {
      over.abort();
      await all;
      return figuresOf(times, failed.length === 0 ? "0 failed" : `${failed.length} failed (${failed[0]})`);
    },
  };
}

export function figuresOf(times: readonly number[], failed = ""): Figures {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  return { count: sorted.length, failed, p50: at(0.5), p99: at(0.99), max: sorted.at(-1) ?? 0 };
}
