import type { Fault } from "../../lib/fault.ts";
import { verdictOn } from "../containers/verdict.ts";
import type { ContainerView } from "../contract.ts";

/** In the order in which they come. */
export const STEPS = { queue: "Waiting for its image and its turn", start: "Starting", check: "Checking its address" } as const;
export type Step = keyof typeof STEPS;

/** How a start goes, for the page that waits for it. `ready`: asking again no longer meets that page. */
export type Progress = { state: "asleep" | "waiting" | "ready" | "failed"; step: Step; says: string; logs: readonly string[]; fault?: Fault };

/** `now` is epoch ms. */
export function progressOf(view: ContainerView, now: number): Progress {
  const { standing } = view;
  const waits = (state: "asleep" | "waiting", step: Step): Progress => ({ state, step, says: `${STEPS[step]} …`, logs: [] });
  if (standing.kind === "asleep") return waits("asleep", "queue");
  if (standing.kind === "coming") return waits("waiting", standing.step ?? "queue");
  const verdict = verdictOn(view, now);
  if (standing.kind !== "failed") return { state: "ready", step: "start", says: "It is there.", logs: [] };
  // Another try may begin, but this page is what tells of the last one.
  const { message, logs = [] } = standing.fault;
  return { state: "failed", step: "start", says: message, logs, ...(verdict.kind === "refuse" ? { fault: verdict.fault } : {}) };
}
