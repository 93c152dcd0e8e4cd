import type { DirectResponse, Head } from "./decision.ts";

/** `starting`: control has sent nothing yet. `draining`: the gateway stops, and load balancers should use another one. */
type ReadyState = "starting" | "ready" | "draining";

export type GatewayReadiness = {
  setState(state: ReadyState): void;
  /** The response to a health check; undefined for every other request. `target` is in origin form. */
  answer(head: Head, target: string): DirectResponse | undefined;
};

/** Load balancers send requests while this is 200. */
const READY_PATH = "/readyz";
/** Supervisors restart the process unless this is 200. */
const ALIVE_PATHS: readonly string[] = ["/healthz", "/livez"];

const STATUS: Record<ReadyState, readonly [status: number, reason: string]> = {
  starting: [503, "Starting"],
  ready: [200, "OK"],
  draining: [503, "Draining"],
};

/**
 * Health checks of load balancers and supervisors, which need no key. `draining` is final. `controlAwaySince`: since when control is unavailable, in
 * epoch ms. The gateway stays ready then, because it still serves running containers; the body reports it.
 */
export function createReadiness(first: ReadyState, controlAwaySince: () => number | undefined = () => undefined): GatewayReadiness {
  let state = first;
  return {
    setState: (next) => {
      if (state !== "draining") state = next;
    },
    answer: ({ method }, target) => {
      if (method !== "GET" && method !== "HEAD") return undefined;
      const [path] = target.split("?", 1);
      if (path !== undefined && ALIVE_PATHS.includes(path)) return answer(200, "OK", "alive");
      if (path !== READY_PATH) return undefined;
      const [status, reason] = STATUS[state];
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
