import type { Call } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { OURS, isServiceName } from "../labels.ts";
import { currentTask, findService, tasksOf, isOver, type Task } from "./cluster.ts";
import { logStream } from "../engine/log-stream.ts";
import { localContainer } from "./observe.ts";

/** Of the run that counts, through the swarm: whichever node it is on, and also when it has ended. */
export async function* logs(engine: Engine, service: string, options: { tail: number; follow?: boolean }, { signal }: Call): AsyncGenerator<string> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return;
  const found = await findService(engine, service, signal);
  if (found?.Spec?.Labels?.[OURS] === undefined) return;
  const task = currentTask((await tasksOf(engine, found.ID, signal)) ?? []);
  if (task) yield* taskLogs(engine, task, options, signal);
}

const LOOK_EVERY_MS = 500;
/** What a task wrote last takes a moment to come from another node. */
const LAST_WORDS_MS = 1_000;

/**
 * What one run has written: read from its container where that is on this machine, else through the swarm, which has been seen to give nothing of a
 * task that had just ended: such a one is asked for a second time.
 */
export async function* taskLogs(
  engine: Engine,
  task: Task,
  options: { tail: number; follow?: boolean },
  signal: AbortSignal,
): AsyncGenerator<string> {
  const id = task.Status.ContainerStatus?.ContainerID;
  if (id && (await localContainer(engine, id, signal))) return yield* logStream(engine, { of: "containers", id }, options, signal);
  // Followed logs of a task that has ended stay open for ever.
  if (options.follow && !isOver(task)) return yield* followed(engine, task, options, signal);
  for (let attempt = 1, silent = true; silent && attempt <= 2; attempt++) {
    if (attempt > 1) await engine.clock.sleep(LOOK_EVERY_MS, signal);
    for await (const piece of logStream(engine, { of: "tasks", id: task.ID }, { tail: options.tail }, signal)) {
      silent = false;
      yield piece;
    }
  }
}

async function* followed(engine: Engine, task: Task, options: { tail: number; follow?: boolean }, signal: AbortSignal): AsyncGenerator<string> {
  const over = new AbortController();
  const watching = untilOver(engine, task, AbortSignal.any([signal, over.signal])).then(
    () => over.abort(),
    () => {},
  );
  try {
    yield* logStream(engine, { of: "tasks", id: task.ID }, options, AbortSignal.any([signal, over.signal]));
  } catch (error) {
    signal.throwIfAborted();
    if (!over.signal.aborted) throw error;
  } finally {
    over.abort();
    await watching;
  }
}

async function untilOver(engine: Engine, { ID: id, ServiceID }: Task, signal: AbortSignal): Promise<void> {
  for (;;) {
    await engine.clock.sleep(LOOK_EVERY_MS, signal);
    const task = (await tasksOf(engine, ServiceID, signal))?.find(({ ID }) => ID === id);
    if (task && !isOver(task)) continue;
    return engine.clock.sleep(LAST_WORDS_MS, signal);
  }
}
