import { Fault } from "../../lib/fault.ts";
import type { ContainerAddress, ContainerView } from "../contract.ts";

/** What a request for a container does next. */
export type Verdict = { kind: "go"; addresses: readonly ContainerAddress[] } | { kind: "hold" } | { kind: "wake" } | { kind: "refuse"; fault: Fault };

/** `now` is epoch milliseconds: a failed start is tried again from its `retryAt` on, and answered at once before that. */
export function verdictOn(view: ContainerView, now: number): Verdict {
  const { standing } = view;
  switch (standing.kind) {
    case "awake":
      return { kind: "go", addresses: standing.addresses };
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
      return { kind: "refuse", fault: Fault.from(standing.fault) };
    case "failed":
      if (standing.wakeable && now >= standing.retryAt) return { kind: "wake" };
      return { kind: "refuse", fault: Fault.from(standing.wakeable ? { retryAfterMs: standing.retryAt - now, ...standing.fault } : standing.fault) };
  }
}
