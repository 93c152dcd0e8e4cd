import { Fault } from "../../lib/fault.ts";
import type { ContainerAddress, ContainerView } from "../contract.ts";
import type { Head } from "../decision.ts";

/** What a request for a container does next. */
export type WakeDecision =
  | { kind: "go"; addresses: readonly ContainerAddress[] }
  | { kind: "hold" }
  | { kind: "wake" }
  | { kind: "refuse"; fault: Fault };

/** `now` is epoch milliseconds: a failed start is tried again from its `retryAt` on, and answered at once before that. */
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

/** Requests that neither wake a container nor keep it awake, as the setting names them: `header`, or `header:part of its value`, in any case. */
export type ProbeMatcher = (head: Pick<Head, "header">) => boolean;

/** When whoever only looks in may do so again. */
const RETRY_AFTER_MS = 60_000;

export function createProbeMatcher(rules: readonly string[]): ProbeMatcher {
  const read = rules.map((rule) => {
    const [name = "", ...part] = rule.toLowerCase().split(":");
    return { name: name.trim(), part: part.join(":").trim() };
  });
  return ({ header }) => {
    for (const { name, part } of read) {
      const value = header(name);
      if (value !== undefined && value.toLowerCase().includes(part)) return true;
    }
    return false;
  };
}

/** What such a request is told of a container that is not awake. */
export function asleepFault({ name }: Pick<ContainerView, "name">): Fault {
  return new Fault("CONTAINER_ASLEEP", `${name} is asleep, and this request does not wake it (BERTH_NO_WAKE)`, { retryAfterMs: RETRY_AFTER_MS });
}
