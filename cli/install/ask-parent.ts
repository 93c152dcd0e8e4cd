import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import { requestSocket } from "../../lib/http-client.ts";
import type { ParentLimits } from "../../processes/parent-socket.ts";

/** Longer than the first process gives its successor. */
const HAND_OVER_MS = 400_000;
const LIMITS_MS = 5_000;
const MAX_BYTES = 1_048_576;

/** Where the first process of the running berth listens. */
type ParentProcess = { path: string; clock: Clock };

/** Undefined if no berth runs there. Faults: those of the reply; PROGRAM_UNUSABLE. */
export function callParent(
  parent: ParentProcess,
  action: "hand-over" | "resume",
  body: { program?: string } = {},
): Promise<{ version?: string } | undefined> {
  return send(parent, { method: "POST", path: `/${action}`, body: JSON.stringify(body), timeoutMs: HAND_OVER_MS });
}

/** The limits of the first process. Undefined if no berth runs there. Faults: PROGRAM_UNUSABLE. */
export function loadParentLimits(parent: ParentProcess): Promise<Partial<ParentLimits> | undefined> {
  return send(parent, { method: "GET", path: "/limits", timeoutMs: LIMITS_MS });
}

async function send<Result extends object>(
  { path: socketPath, clock }: ParentProcess,
  { path, ...request }: { method: string; path: string; body?: string; timeoutMs: number },
): Promise<Result | undefined> {
  const toFault = ({ why, cause }: { why: string; cause?: unknown }) =>
    new Fault("PROGRAM_UNUSABLE", `The first process of the berth that runs did not complete its answer: ${why}. Its log has the reason.`, { cause });
  const reply = await requestSocket(
    { socketPath, clock, maxBytes: MAX_BYTES, timeoutMs: request.timeoutMs, toFault },
    { ...request, url: `http://localhost${path}` },
  );
  if (reply === undefined) return undefined;
  const value = JSON.parse(reply.text()) as Result & FaultData;
  if (reply.status !== 200) throw Fault.from(value);
  return value;
}
