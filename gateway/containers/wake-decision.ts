import { Fault } from "../../lib/fault.ts";
import type { ContainerAddress, ContainerView } from "../contract.ts";
import type { Head } from "../decision.ts";

/** What a request for a container does next. */
type WakeDecision = { kind: "go"; addresses: readonly ContainerAddress[] } | { kind: "hold" } | { kind: "wake" } | { kind: "refuse"; fault: Fault };

/** `now` is epoch milliseconds: a failed start is retried from its `retryAt` on. */
export function wakeDecisionFor(view: ContainerView, now: number): WakeDecision {
  const { availability } = view;
  switch (availability.kind) {
    case "awake":
      return { kind: "go", addresses: availability.addresses };
    case "coming":
      return { kind: "hold" };
    case "asleep":
      return { kind: "wake" };
    case "portless":
      return {
        kind: "refuse",
        fault: new Fault("CONTAINER_HAS_NO_PORT", `${view.name} exposes no port: its image has no EXPOSE and container.json no port`),
      };
    case "stopped":
      return { kind: "refuse", fault: Fault.from(availability.fault) };
    case "failed":
      if (availability.wakeable && now >= availability.retryAt) return { kind: "wake" };
      return {
        kind: "refuse",
        fault: Fault.from(availability.wakeable ? { retryAfterMs: availability.retryAt - now, ...availability.fault } : availability.fault),
      };
  }
}

/** Matches probes: requests that neither wake a container nor keep it awake. */
export type ProbeMatcher = (head: Pick<Head, "header">) => boolean;

/** The interval suggested to probes of a sleeping container. */
const RETRY_AFTER_MS = 60_000;

/** `rules`: `header`, or `header:part of its value`, in any case. */
export function createProbeMatcher(rules: readonly string[]): ProbeMatcher {
  const parsed = rules.map((rule) => {
    const [name = "", ...part] = rule.toLowerCase().split(":");
    return { name: name.trim(), part: part.join(":").trim() };
  });
  return ({ header }) => {
    for (const { name, part } of parsed) {
      const value = header(name);
      if (value !== undefined && value.toLowerCase().includes(part)) return true;
    }
    return false;
  };
}

/** The fault of a probe whose container is not awake. */
export function asleepFault({ name }: Pick<ContainerView, "name">): Fault {
  return new Fault("CONTAINER_ASLEEP", `${name} is asleep, and this request does not wake it (BERTH_NO_WAKE)`, { retryAfterMs: RETRY_AFTER_MS });
}
