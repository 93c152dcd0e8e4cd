import type { Clock } from "../../lib/clock.ts";
import { phasesOf } from "../../lib/start-phases.ts";
import type { TracePlace, Traces } from "../../lib/traces/traces.ts";
import type { Changes } from "./changes.ts";
import type { ContainerState } from "../model/states.ts";
import type { Container } from "../model/entities.ts";

const COMING: readonly ContainerState[] = ["PENDING_START", "STARTING"];
/** A wish moves its container at once. */
const FRESH_MS = 1_000;
/** A wake of which nothing came is forgotten when so many others were. */
const MOST_WAKES = 1_000;

type TracedWake = { place: TracePlace; from: number; coming: boolean };

/**
 * A start that a request brought about, as spans below the one that waits for it: the wake and its phases. Of several requests the first counts. It goes by what
 * everybody hears of containers, so that nothing that starts them has to think of traces. The returned function says what a wake is part of.
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
    if (COMING.includes(container.state)) {
      // What was asked for longer ago brought about nothing: this start is somebody else's.
      if (!wake.coming && clock.now() - wake.from > FRESH_MS) wakes.delete(container.id);
      wake.coming = true;
    } else if (wake.coming) {
      wakes.delete(container.id);
      record(wake, container);
    }
  });

  function record({ place, ...wake }: TracedWake, { name, state, phases, fault, wishedOn }: Container): void {
    // It may have been wished before, by somebody whose trace is not recorded.
    const from = Math.min(wake.from, wishedOn);
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
    if (before?.coming) return;
    const place = traces.begin(traceparent);
    if (!place.sampled) return;
    const [oldest] = wakes.size < MOST_WAKES ? [] : wakes.keys();
    if (oldest !== undefined) wakes.delete(oldest);
    wakes.set(id, { place, from: clock.now(), coming: false });
  };
}
