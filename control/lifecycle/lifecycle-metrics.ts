import type { Clock } from "../../lib/clock.ts";
import type { Spread, Metrics } from "../../lib/metrics/open-metrics.ts";
import { phasesOf } from "../../lib/start-phases.ts";
import type { Container } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import type { Changes } from "./changes.ts";
import { CONTAINER_WIRE_STATES, type ContainerState, isStarting } from "../model/states.ts";
import type { WorkQueue } from "./work-queue.ts";

/**
 * Counts the moves and starts of containers. It watches the published changes, so that no step has to count. The state after a start shows how the
 * start ended.
 */
export async function recordLifecycleMetrics(parts: {
  store: Pick<Store, "containers" | "images">;
  changes: Pick<Changes, "watch" | "seq">;
  queue: Pick<WorkQueue, "depth">;
  metrics: Metrics;
}): Promise<void> {
  const { store, changes, queue, metrics } = parts;
  const before = new Map<string, ContainerState>((await store.containers.stateOfEach()).map(({ id, state }) => [id, state]));

  changes.watch((change) => {
    if ("removed" in change) return void before.delete(change.removed);
    if ("image" in change) return;
    const { container } = change;
    const was = before.get(container.id);
    before.set(container.id, container.state);
    if (was === container.state) return;
    metrics.moves.at(CONTAINER_WIRE_STATES[container.state]).add();
    if (was !== undefined && isStarting(was) && !isStarting(container.state)) countStart(metrics, was, container);
  });

  metrics.controlSeq.look((family) => family.at().set(changes.seq()));
  metrics.containers.look(async (family) => {
    for (const state of Object.values(CONTAINER_WIRE_STATES)) family.at(state).set(0);
    for (const { state, count } of await store.containers.states()) family.at(CONTAINER_WIRE_STATES[state]).set(count);
  });
  metrics.images.look(async (family) => {
    for (const { state, count } of await store.images.states()) family.at(state.toLowerCase()).set(count);
  });
  metrics.queueDepth.look((family) => family.at().set(queue.depth().waiting));
  metrics.queueRunning.look((family) => family.at().set(queue.depth().running));
}

function countStart(metrics: Metrics, was: ContainerState, { name, state, phases, fault }: Container): void {
  if (state === "ERROR") return metrics.wakes.at(name, fault?.code ?? "INTERNAL").add();
  if (state !== "STARTED") return metrics.wakes.at(name, "stopped").add();
  metrics.wakes.at(name, "started").add();
  // One that the engine reported running, without a start, has no phases of its own.
  if (was !== "STARTING" || phases === undefined) return;
  for (const [phase, ms] of phasesOf(phases)) metrics.wakePhaseSeconds.at(phase).observe(ms / 1_000);
  metrics.wakeSeconds.at().observe(Object.values(phases).reduce((sum, ms) => sum + ms, 0) / 1_000);
}

/** Measures how long a task takes, by its outcome. */
export async function timed<T>(family: { at(outcome: string): Spread }, clock: Clock, task: () => Promise<T>): Promise<T> {
  const from = clock.monotonic();
  const over = (outcome: string) => family.at(outcome).observe((clock.monotonic() - from) / 1_000);
  try {
    const result = await task();
    over("done");
    return result;
  } catch (error) {
    over("failed");
    throw error;
  }
}
