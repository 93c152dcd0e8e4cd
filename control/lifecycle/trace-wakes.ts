import type { Clock } from "../../lib/clock.ts";
import { phasesOf } from "../../lib/start-phases.ts";
import type { TracePlace, Traces } from "../../lib/traces/traces.ts";
import type { Changes } from "./changes.ts";
import { isStarting } from "../model/states.ts";
import type { Container } from "../model/entities.ts";

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
