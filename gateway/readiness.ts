import type { DirectResponse, Head } from "./decision.ts";

/** `starting`: nothing was heard from control yet. `draining`: told to stop, so that whoever has a choice goes elsewhere. */
export type ReadyState = "starting" | "ready" | "draining";

export type Readiness = {
  turn(state: ReadyState): void;
  /** The answer to a question about health; undefined for every other request. `target` is in origin form. */
  answer(head: Head, target: string): DirectResponse | undefined;
};

/** Load balancers send no more where this is not 200. */
const READY_PATH = "/readyz";
/** Whoever watches processes starts this one anew where this is not 200. */
const ALIVE_PATHS: readonly string[] = ["/healthz", "/livez"];

const STATUS: Record<ReadyState, readonly [status: number, reason: string]> = {
  starting: [503, "Starting"],
  ready: [200, "OK"],
  draining: [503, "Draining"],
};

/**
 * What load balancers request of the gateway itself, without a key; once it drains, it stays so. `controlAwaySince`: since when, in epoch ms, control
 * is unavailable. A gateway serves containers that run without it, so that it stays ready; the body names it.
 */
export function openReadiness(first: ReadyState, controlAwaySince: () => number | undefined = () => undefined): Readiness {
  let state = first;
  return {
    turn: (next) => {
      if (state !== "draining") state = next;
    },
    answer: ({ method }, target) => {
      if (method !== "GET" && method !== "HEAD") return undefined;
      const [path] = target.split("?", 1);
      if (path !== undefined && ALIVE_PATHS.includes(path)) return answer(200, "OK", "alive");
      if (path !== READY_PATH) return undefined;
      const [status, reason] = STATUS[state];
      // Who keeps asking over a connection that is to end would keep it open.
      const away = state === "ready" ? controlAwaySince() : undefined;
      const control = away === undefined ? {} : { control: `unavailable since ${new Date(away).toISOString()}` };
      return { ...answer(status, reason, state, control), ...(state === "draining" ? { close: true as const } : {}) };
    },
  };
}

function answer(status: number, reason: string, state: string, more: { control?: string } = {}): DirectResponse {
  const body = JSON.stringify({ status: state, ...more });
  return {
    status,
    reason,
    headers: [
      ["Content-Type", "application/json"],
      ["Content-Length", String(body.length)],
      ["Cache-Control", "no-store"],
    ],
    body,
  };
}
