import { backoffDelay } from "../../../lib/backoff.ts";

/** The pull limit of a registry, as Docker Hub reports it: so many manifests in a window. https://docs.docker.com/docker-hub/usage/pulls/ */
export type PullLimit = { limit: number; remaining: number; windowSeconds: number | undefined };

/** `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 76;w=21600`; undefined without both. */
export function parsePullLimit({ header }: { header(name: string): string | undefined }): PullLimit | undefined {
  const limit = countIn(header("ratelimit-limit"));
  const remaining = countIn(header("ratelimit-remaining"));
  return limit && remaining && { limit: limit.count, remaining: remaining.count, windowSeconds: limit.windowSeconds };
}

function countIn(value: string | undefined): { count: number; windowSeconds: number | undefined } | undefined {
  const [, count, seconds] = /^\s*(\d{1,9})(?:\s*;\s*w=(\d{1,9}))?\s*(?:$|[,;])/.exec(value ?? "") ?? [];
  return count === undefined ? undefined : { count: Number(count), windowSeconds: seconds === undefined ? undefined : Number(seconds) };
}

/** Why requests to an upstream failed: `limited` by a 429, or `away` without an answer that helps. */
export type UpstreamFailure = { kind: "limited" | "away"; why: string; retryAfterMs?: number | undefined };

/** Until `until` (monotonic ms) no request is sent. `failures` in a row. */
type Pause = { until: number; failures: number; failure: UpstreamFailure };

const BACKOFF = { limited: { firstMs: 30_000, longestMs: 900_000 }, away: { firstMs: 1_000, longestMs: 30_000 } };
/** When a pause is over, one request tries; others wait so long for its result. */
const TRIAL_MS = 5_000;

/** Pauses of the kinds of requests to one upstream: Docker Hub limits manifests, and neither their HEAD requests nor layers. */
export type UpstreamPauses = {
  /** The failure that pauses requests of this kind, and for how long; undefined: the request may be sent. */
  check(kind: string): (UpstreamFailure & { leftMs: number }) | undefined;
  failed(kind: string, failure: UpstreamFailure): void;
  succeeded(kind: string): void;
  /** The request says nothing of the upstream: if it was the trial after a pause, the next one is. */
  undecided(kind: string): void;
};

export function createUpstreamPauses(clock: { monotonic(): number }): UpstreamPauses {
  const pauses = new Map<string, Pause>();
  return {
    check: (kind) => {
      const pause = pauses.get(kind);
      if (pause === undefined) return undefined;
      const leftMs = pause.until - clock.monotonic();
      if (leftMs > 0) return { ...pause.failure, leftMs };
      pauses.set(kind, { ...pause, until: clock.monotonic() + TRIAL_MS });
      return undefined;
    },
    failed: (kind, failure) => {
      const failures = (pauses.get(kind)?.failures ?? 0) + 1;
      const delayMs = Math.max(backoffDelay(BACKOFF[failure.kind], failures), failure.retryAfterMs ?? 0);
      pauses.set(kind, { until: clock.monotonic() + delayMs, failures, failure });
    },
    succeeded: (kind) => void pauses.delete(kind),
    undecided: (kind) => {
      const pause = pauses.get(kind);
      if (pause) pauses.set(kind, { ...pause, until: Math.min(pause.until, clock.monotonic()) });
    },
  };
}
