import type { Call } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { logStream } from "../engine/log-stream.ts";
import { OURS } from "../labels.ts";
import { isServiceName } from "../service-name.ts";
import { currentTask, findService, isOver, tasksOf } from "./task.ts";

const LOOK_EVERY_MS = 500;
/** What a task wrote last takes a moment to come from another node. */
const LAST_WORDS_MS = 1_000;

/** Of the run that counts, through the swarm: whichever node it is on, and also when it has ended. */
export async function* logs(engine: Engine, service: string, options: { tail: number; follow?: boolean }, { signal }: Call): AsyncGenerator<string> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return;
  const found = await findService(engine, service, signal);
  if (found?.Spec?.Labels?.[OURS] === undefined) return;
  const task = currentTask((await tasksOf(engine, found.ID, signal)) ?? []);
  if (!task) return;
  const source = { of: "tasks" as const, id: task.ID };
  // Followed logs of a task that has ended stay open for ever.
  if (options.follow && !isOver(task)) yield* followed(engine, source, found.ID, options, signal);
  else yield* logStream(engine, source, { tail: options.tail }, signal);
}

async function* followed(
  engine: Engine,
  source: { of: "tasks"; id: string },
  serviceId: string,
  options: { tail: number; follow?: boolean },
  signal: AbortSignal,
): AsyncGenerator<string> {
  const over = new AbortController();
  const watching = untilOver(engine, source.id, serviceId, AbortSignal.any([signal, over.signal])).then(
    () => over.abort(),
    () => {},
  );
  try {
    yield* logStream(engine, source, options, AbortSignal.any([signal, over.signal]));
  } catch (error) {
    signal.throwIfAborted();
    if (!over.signal.aborted) throw error;
  } finally {
    over.abort();
    await watching;
  }
}

async function untilOver(engine: Engine, taskId: string, serviceId: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    await engine.clock.sleep(LOOK_EVERY_MS, signal);
    const task = (await tasksOf(engine, serviceId, signal))?.find(({ ID }) => ID === taskId);
    if (task && !isOver(task)) continue;
    return engine.clock.sleep(LAST_WORDS_MS, signal);
  }
}
