import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { FAILS_OVER_HEADER, type StandbyReply } from "../../gateway/contract.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { KnownLeader } from "../leadership/open-leadership.ts";

const ALIVE_PATHS: readonly string[] = ["/livez", "/healthz"];
const READY_PATH = "/readyz";
const RETRY_MS = 1_000;

/** Answers every request to a control process that does not lead: 200 at `/livez`, else 503 with the leader's address (`StandbyReply`). */
export function createStandbyAnswer(leader: () => KnownLeader): RequestListener {
  return (request, response) => {
    if (answerHealth(request, response, "standby")) return;
    const { url: at, problem } = leader();
    const fault = new Fault("CONTROL_STANDBY", sentence(at, problem), { retryAfterMs: RETRY_MS });
    const reply: StandbyReply = { ...fault.toJSON(), ...(at === undefined ? {} : { leader: at }), ...(problem === undefined ? {} : { problem }) };
    send(response, fault.status, { "#type": "ApiError", innerMessage: "", ...reply });
  };
}

/**
 * Answers what gateways forward to a process that does not lead: because it ends now, or was started again before the gateway noticed its end. A request
 * that changes nothing loses its connection instead: the gateway sends it to the next leader.
 */
export function createNotLeadingAnswer(answerAsStandby: RequestListener): RequestListener {
  return (request, response) => {
    if (isSentOn(request)) response.destroy();
    else answerAsStandby(request, response);
  };
}

/** A gateway sends this request to the next leader if its connection is lost, and it changes nothing. */
export function isSentOn({ method, headers }: IncomingMessage): boolean {
  const hasBody = headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
  return headers[FAILS_OVER_HEADER] !== undefined && (method === "GET" || method === "HEAD") && !hasBody;
}

/** Shorter than the time for which a gateway waits for one of several control processes (`gateway/feed/feed-connection.ts`). */
const LONGEST_HOLD_MS = 1_000;

/** A gateway that lost its leader waits at a standby for the next one, instead of trying each control process again and again. */
export type LeaderWait = {
  /** Resolves when this process leads, or knows another leader with a larger epoch, and after a second in any case. */
  laterThan(epoch: number): Promise<void>;
  /** To be called when this process knows more of the leader, or leads. */
  changed(): void;
};

/** `isLeading`: this process. `selfUrl`: its own address, at which nothing is served until it leads. */
export function createLeaderWait(deps: { leader: () => KnownLeader; isLeading: () => boolean; selfUrl: string; clock: Clock }): LeaderWait {
  const { leader, isLeading, selfUrl, clock } = deps;
  const waiting = new Set<() => void>();
  return {
    laterThan: (epoch) =>
      new Promise((resolve) => {
        const look = () => {
          const { url, epoch: current } = leader();
          if (isLeading() || (url !== undefined && url !== selfUrl && current > epoch)) leave();
        };
        const leave = () => {
          cancel();
          waiting.delete(look);
          resolve();
        };
        const cancel = clock.after(LONGEST_HOLD_MS, leave);
        waiting.add(look);
        look();
      }),
    changed: () => {
      for (const look of waiting) look();
    },
  };
}

/** Answers the health checks of supervisors and load balancers, which need no key. False: it is another request. */
export function answerHealth({ url = "", method }: IncomingMessage, response: ServerResponse, state: "ready" | "standby"): boolean {
  const [path = ""] = url.split("?", 1);
  if (method !== "GET" && method !== "HEAD") return false;
  if (ALIVE_PATHS.includes(path)) send(response, 200, { status: "alive" });
  else if (path === READY_PATH) send(response, state === "ready" ? 200 : 503, { status: state });
  else return false;
  return true;
}

function send(response: ServerResponse, status: number, body: object): void {
  const text = JSON.stringify(body);
  response.setHeaders(new Headers({ "content-type": "application/json", "cache-control": "no-store" }));
  response.setHeader("content-length", Buffer.byteLength(text));
  if (status !== 200) response.setHeader("retry-after", RETRY_MS / 1_000);
  // The body of a request is not read.
  if (status !== 200) response.setHeader("connection", "close");
  response.writeHead(status).end(text);
}

function sentence(at: string | undefined, problem: string | undefined): string {
  if (problem !== undefined) return `No control process leads: ${problem}.`;
  if (at === undefined) return "This control process is a standby, and no other one leads at the moment.";
  return `This control process is a standby: ${at} leads.`;
}
