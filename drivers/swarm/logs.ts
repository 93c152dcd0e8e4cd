import type { LogOptions, OwnedCall } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { logStream } from "../engine/streams.ts";
import { isOwnedBy, parseLabels } from "../labels.ts";
import { currentTask, findOwnService, tasksOf, isOver, type Task } from "./cluster.ts";
import { localContainer } from "./observe.ts";

/** The log of the newest task, on any node, running or ended. */
export async function* logs(engine: Engine, service: string, options: LogOptions, { signal, owner }: OwnedCall): AsyncGenerator<string> {
  signal.throwIfAborted();
  const holder = await findOwnService(engine, service, signal);
  const task =
    holder && isOwnedBy(parseLabels(holder.Spec?.Labels), owner) ? currentTask((await tasksOf(engine, holder.ID, signal)) ?? []) : undefined;
  if (task) yield* taskLogs(engine, task, options, signal);
}

const POLL_MS = 500;
/** The last lines of a task on another node arrive a moment late. */
const LAST_LINES_MS = 1_000;

/**
 * The log of one task: of its container if that is on this machine, else through the swarm. The swarm may return nothing for a task that has just ended, so
 * it is queried twice.
 */
export async function* taskLogs(engine: Engine, task: Task, options: LogOptions, signal: AbortSignal): AsyncGenerator<string> {
  const id = task.Status.ContainerStatus?.ContainerID;
  if (id && (await localContainer(engine, id, signal))) return yield* logStream(engine, { of: "containers", id }, options, signal);
  // Docker does not end the followed log of an ended task.
  if (options.follow && !isOver(task)) return yield* followed(engine, task, options, signal);
  for (let attempt = 1, empty = true; empty && attempt <= 2; attempt++) {
    if (attempt > 1) await engine.clock.sleep(POLL_MS, signal);
    for await (const piece of logStream(engine, { of: "tasks", id: task.ID }, { ...options, follow: false }, signal)) {
      empty = false;
      yield piece;
    }
  }
}

async function* followed(engine: Engine, task: Task, options: LogOptions, signal: AbortSignal): AsyncGenerator<string> {
  const ended = new AbortController();
  const watching = waitUntilEnded(engine, task, AbortSignal.any([signal, ended.signal])).then(
    () => ended.abort(),
    () => {},
  );
  try {
    yield* logStream(engine, { of: "tasks", id: task.ID }, options, AbortSignal.any([signal, ended.signal]));
  } catch (error) {
    signal.throwIfAborted();
    if (!ended.signal.aborted) throw error;
  } finally {
    ended.abort();
    await watching;
  }
}

async function waitUntilEnded(engine: Engine, { ID: id, ServiceID }: Task, signal: AbortSignal): Promise<void> {
  for (;;) {
    await engine.clock.sleep(POLL_MS, signal);
    const task = (await tasksOf(engine, ServiceID, signal))?.find(({ ID }) => ID === id);
    if (task && !isOver(task)) continue;
    return engine.clock.sleep(LAST_LINES_MS, signal);
  }
}
