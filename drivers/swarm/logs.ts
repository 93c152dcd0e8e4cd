import type { Call } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { OURS } from "../labels.ts";
import { isServiceName } from "../service-name.ts";
import { taskLogs } from "./task-logs.ts";
import { currentTask, findService, tasksOf } from "./task.ts";

/** Of the run that counts, through the swarm: whichever node it is on, and also when it has ended. */
export async function* logs(engine: Engine, service: string, options: { tail: number; follow?: boolean }, { signal }: Call): AsyncGenerator<string> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return;
  const found = await findService(engine, service, signal);
  if (found?.Spec?.Labels?.[OURS] === undefined) return;
  const task = currentTask((await tasksOf(engine, found.ID, signal)) ?? []);
  if (task) yield* taskLogs(engine, task, options, signal);
}
