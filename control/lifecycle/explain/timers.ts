import { isEngineTrouble } from "../failures.ts";
import { idleInMs } from "../keep-container.ts";
import { startLimit } from "../limits.ts";
import { containerTimeLeft, enteredOn } from "../deadlines.ts";
import { nextWarm } from "../../model/warm-hours.ts";
import type { About } from "./about.ts";

export const TIMERS = ["backOff", "idleStop", "pausedEnd", "warmHours", "startLimit", "drainLimit", "statusLimit"] as const;

/** What happens by itself, and when (epoch ms), as things are. */
export type Timer = { kind: (typeof TIMERS)[number]; at: number; says: string };

type Row = { says: string; at(about: About): number | undefined };

const ROWS: Record<Timer["kind"], Row> = {
  backOff: {
    says: "It may be tried again.",
    at: ({ row, rooms }) => {
      const waits =
        row.state === "PENDING_START" ||
        (row.state === "ERROR" && (row.config.onDemand || isEngineTrouble(row.fault?.code) || row.desiredInstances === 0));
      return waits && row.notBefore > rooms.clock.now() ? row.notBefore : undefined;
    },
  },
  idleStop: {
    says: "It goes to sleep, unless it is used before.",
    at: ({ row, rooms }) => {
      const leftMs = row.state === "STARTED" ? idleInMs(rooms, row) : undefined;
      return leftMs === undefined ? undefined : rooms.clock.now() + leftMs;
    },
  },
  pausedEnd: {
    says: "What lies frozen is ended, and its memory is free again; the next request then starts it anew.",
    at: ({ row, rooms }) => (row.state === "SYSTEM_STOPPED" && row.pausedOn !== undefined ? row.pausedOn + rooms.limits.pausedMs : undefined),
  },
  warmHours: {
    says: "Its keep_warm hours begin, and it is started.",
    at: ({ row, rooms }) =>
      row.state === "SYSTEM_STOPPED" && row.stopFor === "system" && row.config.keepWarm
        ? nextWarm(row.config.keepWarm, rooms.clock.now())
        : undefined,
  },
  startLimit: {
    says: "The start is given up, unless it answers or its image's pull makes progress.",
    at: ({ row, rooms }) => (row.state === "STARTING" ? enteredOn(rooms, row) + startLimit(rooms.limits) : undefined),
  },
  drainLimit: {
    says: "It is stopped, even where something is still open.",
    at: ({ row, rooms }) => {
      if (row.state === "PENDING_USER_STOP") return enteredOn(rooms, row) + rooms.limits.userDrainMs;
      return row.state === "PENDING_SYSTEM_STOP" ? enteredOn(rooms, row) + rooms.limits.drainMs : undefined;
    },
  },
  statusLimit: {
    says: "It has been in this state for too long, and becomes an error.",
    at: ({ row, rooms }) => {
      const leftMs = containerTimeLeft(rooms, row);
      return leftMs === undefined ? undefined : rooms.clock.now() + leftMs;
    },
  },
};

/** The next one first. */
export function timersOf(about: About): Timer[] {
  return TIMERS.flatMap((kind) => {
    const { says, at } = ROWS[kind];
    const due = at(about);
    return due === undefined ? [] : [{ kind, at: Math.round(due), says }];
  }).toSorted((one, other) => one.at - other.at);
}
