import type { Container } from "../model/entities.ts";
import { moveContainer } from "./moves.ts";
import type { Rooms, Outcome } from "./rooms.ts";
import { nextWarm, warmUntil } from "../model/warm-hours.ts";

/** The clock may be set meanwhile: nobody waits for longer without a look at it. */
const LONGEST_WAIT_MS = 3_600_000;

/** For how long it is kept awake yet by its warm hours, in milliseconds. */
export function warmMs({ clock }: Pick<Rooms, "clock">, { config }: Pick<Container, "config">): number {
  const until = config.keepWarm && warmUntil(config.keepWarm, clock.now());
  return until === undefined ? 0 : until - clock.now();
}

/**
 * Of one that rests: starts it where its warm hours have come, else says when they do. Whom a user stopped, a user or a request starts; and one
 * whose start failed is left to them too.
 */
export function warmUp(rooms: Rooms, row: Container): Outcome {
  const { clock } = rooms;
  if (!row.config.keepWarm || row.stopFor !== "system") return "rest";
  if (warmMs(rooms, row) > 0) {
    const patch = { desiredInstances: 1, wishedOn: clock.now(), wishedFor: "keepWarm", fault: undefined } as const;
    return moveContainer(rooms, row, "startWished", patch) ? "moved" : "rest";
  }
  const next = nextWarm(row.config.keepWarm, clock.now());
  return next === undefined ? "rest" : { lookInMs: Math.min(next - clock.now(), LONGEST_WAIT_MS) };
}
