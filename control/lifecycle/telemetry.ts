import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Metrics, Spread } from "../../lib/metrics/open-metrics.ts";
import { phasesOf } from "../../lib/start-phases.ts";
import type { TracePlace, Traces } from "../../lib/traces/traces.ts";
import type { Container } from "../model/entities.ts";
import { CONTAINER_WIRE_STATES, type ContainerState, isStarting } from "../model/states.ts";
import type { Store } from "../store/open-store.ts";
import type { Changes } from "./changes.ts";
import type { WorkQueue } from "./work-queue.ts";

/**
 * The lifecycle's log with a field `component`. Its values are the names that a Datagrok server's troubleshooting page has its readers search for: the service,
 * and its timers for images and for containers.
 */
export type ComponentLogs = { service: Log; images: Log; containers: Log };

export function createComponentLogs(log: Log): ComponentLogs {
  const of = (component: string) => log.child({ component });
  return { service: of("DockerService"), images: of("DockerService.processImages"), containers: of("DockerService.processContainers") };
}

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

/** A request for a start moves its container at once. */
const FRESH_MS = 1_000;
/** A wake without a start is forgotten after so many others. */
const MOST_WAKES = 1_000;

type TracedWake = { place: TracePlace; from: number; isStarting: boolean };

/**
 * Records a start that a request caused, as spans below the request's own: the wake and its phases. Of several requests the first counts. It watches the
 * published changes, so that no step has to record traces. The returned function says which trace a wake is part of.
 */
export function traceWakes(parts: { traces: Traces; watch: Changes["watch"]; clock: Clock }): (id: string, traceparent: string) => void {
  const { traces, clock } = parts;
  const wakes = new Map<string, TracedWake>();

  parts.watch((change) => {
    if ("removed" in change) return void wakes.delete(change.removed);
    if ("image" in change) return;
    const { container } = change;
    const wake = wakes.get(container.id);
    if (wake === undefined) return;
    if (isStarting(container.state)) {
      // An older request caused no start: this start has another cause.
      if (!wake.isStarting && clock.now() - wake.from > FRESH_MS) wakes.delete(container.id);
      wake.isStarting = true;
    } else if (wake.isStarting) {
      wakes.delete(container.id);
      record(wake, container);
    }
  });

  function record({ place, ...wake }: TracedWake, { name, state, phases, fault, requestedOn }: Container): void {
    // It may have been requested before, by a request whose trace is not recorded.
    const from = Math.min(wake.from, requestedOn);
    const { traceId, spanId, parentId } = place;
    const attributes = { "berth.container": name };
    const failed = state === "ERROR" ? (fault?.code ?? "INTERNAL") : undefined;
    traces.record({ name: "wake", kind: "internal", traceId, spanId, parentId, from, to: clock.now(), attributes, fault: failed });
    if (state !== "STARTED" || phases === undefined) return;
    let at = from;
    for (const [phase, ms] of phasesOf(phases)) {
      traces.record({ name: phase, kind: "internal", traceId, spanId: traces.newId(), parentId: spanId, from: at, to: at + ms, attributes });
      at += ms;
    }
  }

  return (id, traceparent) => {
    const before = wakes.get(id);
    if (before?.isStarting) return;
    const place = traces.begin(traceparent);
    if (!place.sampled) return;
    const [oldest] = wakes.size < MOST_WAKES ? [] : wakes.keys();
    if (oldest !== undefined) wakes.delete(oldest);
    wakes.set(id, { place, from: clock.now(), isStarting: false });
  };
}
