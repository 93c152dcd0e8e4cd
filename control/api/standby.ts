import type { RequestListener } from "node:http";
import type { StandbyReply } from "../../gateway/contract.ts";
import { Fault } from "../../lib/fault.ts";

/** What a control process that does not lead knows of the one that does. */
export type KnownLeader = {
  /** The URL at which gateways reach it; undefined: none leads, or it has none. */
  url: string | undefined;
  /** Why none leads, as a clause; undefined: one does, or should soon. */
  problem: string | undefined;
};

const ALIVE_PATHS: readonly string[] = ["/livez", "/healthz"];
const READY_PATH = "/readyz";
const RETRY_MS = 1_000;

/** Answers every request to a control process that does not lead: 200 at `/livez`, else 503 with the leader's address (`StandbyReply`). */
export function createStandbyAnswer(leader: () => KnownLeader): RequestListener {
  return ({ url = "" }, response) => {
    const [path = ""] = url.split("?", 1);
    const send = (status: number, body: object) => {
      const text = JSON.stringify(body);
      response.setHeaders(new Headers({ "content-type": "application/json", "cache-control": "no-store" }));
      response.setHeader("content-length", Buffer.byteLength(text));
      if (status !== 200) response.setHeader("retry-after", RETRY_MS / 1_000);
      // The body of a request is not read.
      if (status !== 200) response.setHeader("connection", "close");
      response.writeHead(status).end(text);
    };
    if (ALIVE_PATHS.includes(path)) return send(200, { status: "alive" });
    if (path === READY_PATH) return send(503, { status: "standby" });
    const { url: at, problem } = leader();
    const fault = new Fault("CONTROL_STANDBY", sentence(at, problem), { retryAfterMs: RETRY_MS });
    const reply: StandbyReply = { ...fault.toJSON(), ...(at === undefined ? {} : { leader: at }) };
    return send(fault.status, { "#type": "ApiError", innerMessage: "", ...reply });
  };
}

function sentence(at: string | undefined, problem: string | undefined): string {
  if (problem !== undefined) return `No control process leads: ${problem}.`;
  if (at === undefined) return "This control process is a standby, and no other one leads at the moment.";
  return `This control process is a standby: ${at} leads.`;
}
