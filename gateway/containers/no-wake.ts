import { Fault } from "../../lib/fault.ts";
import type { Head } from "../decision.ts";
import type { ContainerView } from "../contract.ts";

/** Requests that neither wake a container nor keep it awake, as the setting names them: `header`, or `header:part of its value`, in any case. */
export type NoWake = (head: Pick<Head, "header">) => boolean;

/** When whoever only looks in may do so again. */
const RETRY_AFTER_MS = 60_000;

export function openNoWake(rules: readonly string[]): NoWake {
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
