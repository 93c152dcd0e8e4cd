import type { StartStatus } from "../../gateway/contract.ts";
import type { Container } from "../model/entities.ts";
import { type ContainerEngine, cutLogTail, linesOfTail } from "./engine.ts";
import { LONGEST_FAULT_LOGS } from "./failures.ts";
import { workerNote } from "./readiness.ts";
import type { ReadSituation } from "./situation.ts";
import { describeStep, type StartSteps } from "./start-steps.ts";
import { waitReason } from "./state-reason.ts";

/** What helps the author of a container that runs and is not ready. */
export type StartFindings = {
  /** The log tail of this start, the oldest line first, each with its time where the orchestrator knows it. */
  logs: string[];
};

/** Reads the findings of a start, before a failure removes the container, or for a request that has waited for too long. No step fails for it. */
export async function findOut(engine: Pick<ContainerEngine, "logTail">, { service }: Container, signal: AbortSignal): Promise<StartFindings> {
  return { logs: linesOfTail(await engine.logTail(service, signal, { timestamps: true })) };
}

export type StartStatusDeps = {
  steps: Pick<StartSteps, "of">;
  engine: Pick<ContainerEngine, "logTail">;
  situationOf: ReadSituation;
};

/** For requests whose time limit has passed, so that a hundred containers that start slowly do not each have their log read at once. */
const MOST_LOGS = 16;
const MOST_LINES = 20;

/** Reads what a start in progress does and the log tail of what it has started so far; undefined for a container that does not start. */
export function createStartStatus({ steps, engine, situationOf }: StartStatusDeps) {
  let reading = 0;
  const logsOf = async (row: Container, signal: AbortSignal): Promise<string[]> => {
    if (reading >= MOST_LOGS) return [];
    reading++;
    try {
      const { logs } = await findOut(engine, row, signal);
      return linesOfTail(cutLogTail(logs.slice(-MOST_LINES).join("\n"), LONGEST_FAULT_LOGS));
    } finally {
      reading--;
    }
  };
  return async (row: Container, signal: AbortSignal): Promise<StartStatus | undefined> => {
    const situation = await situationOf(row, "unknown");
    const step = steps.of(row.id);
    if (row.state === "PENDING_START") return { text: `${waitReason(situation)} ${CONTINUES}` };
    if (row.state === "STARTING" && step) {
      const logs = step.launchedOn === undefined ? [] : await logsOf(row, signal);
      return { text: `${describeStep(step, situation.now)} ${CONTINUES}`, ...(logs.length === 0 ? {} : { logs }) };
    }
    if (row.state === "STARTED") {
      // It has just refused connections, whatever it did at its start.
      const note = workerNote({ row, image: situation.image }, "silent");
      return note === undefined ? undefined : { text: `It is a ${note}.` };
    }
    return WAITING[row.state] === undefined ? undefined : { text: `${WAITING[row.state]} ${CONTINUES}` };
  };
}

const CONTINUES = "The start continues: try again.";

const WAITING: Partial<Record<Container["state"], string>> = {
  STARTING: "The container engine has not begun its start.",
  CHECKING: "Its address is being verified.",
  PENDING_SYSTEM_STOP: "Its earlier instance is being stopped.",
  PENDING_USER_STOP: "Its earlier instance is being stopped.",
  STOPPING: "Its earlier instance is being stopped.",
};
