import { nextWarm } from "../../model/warm-hours.ts";
import { containerTimeLeft, enteredOn } from "../deadlines.ts";
import { isEngineTrouble } from "../failures.ts";
import { busyMs, idleInMs, warmMs } from "../idle-policy.ts";
import { startLimit } from "../limits.ts";
import { type ExplainContext, minutes } from "./state-reason.ts";

export const TIMERS = ["backOff", "idleStop", "pausedEnd", "warmHours", "startLimit", "drainLimit", "statusLimit"] as const;

/** What happens without a request, and when (epoch ms), as things are. */
export type Timer = { kind: (typeof TIMERS)[number]; at: number; says: string };

const TIMER_ROWS: Record<Timer["kind"], { says: string; at(context: ExplainContext): number | undefined }> = {
  backOff: {
    says: "The next try may begin.",
    at: ({ row, now }) => {
      const waits =
        row.state === "PENDING_START" ||
        (row.state === "ERROR" && (row.config.onDemand || isEngineTrouble(row.fault?.code) || row.desiredInstances === 0));
      return waits && row.notBefore > now ? row.notBefore : undefined;
    },
  },
  idleStop: {
    says: "It is stopped for idleness, unless a request comes before.",
    at: (context) => {
      const leftMs = context.row.state === "STARTED" ? idleInMs(context, context.limits) : undefined;
      return leftMs === undefined ? undefined : context.now + leftMs;
    },
  },
  pausedEnd: {
    says: "The paused container is removed, and its memory is free again. The next request then starts a new one.",
    at: ({ row, limits }) => (row.state === "SYSTEM_STOPPED" && row.pausedOn !== undefined ? row.pausedOn + limits.pausedMs : undefined),
  },
  warmHours: {
    says: "Its keep_warm hours begin, and it is started.",
    at: ({ row, now }) =>
      row.state === "SYSTEM_STOPPED" && row.stopFor === "system" && row.config.keepWarm ? nextWarm(row.config.keepWarm, now) : undefined,
  },
  startLimit: {
    says: "The start fails, unless the container answers or the pull of its image makes progress.",
    at: ({ row, epoch, limits }) => (row.state === "STARTING" ? enteredOn(row, epoch) + startLimit(limits) : undefined),
  },
  drainLimit: {
    says: "It is stopped, even if a request is still open.",
    at: ({ row, epoch, limits }) => {
      if (row.state === "PENDING_USER_STOP") return enteredOn(row, epoch) + limits.userDrainMs;
      return row.state === "PENDING_SYSTEM_STOP" ? enteredOn(row, epoch) + limits.drainMs : undefined;
    },
  },
  statusLimit: {
    says: "It has been in this state for too long, and becomes an error.",
    at: (context) => {
      const leftMs = containerTimeLeft(context, context.limits);
      return leftMs === undefined ? undefined : context.now + leftMs;
    },
  },
};

/** The next one first. */
export function timersOf(context: ExplainContext): Timer[] {
  return TIMERS.flatMap((kind) => {
    const { says, at } = TIMER_ROWS[kind];
    const due = at(context);
    return due === undefined ? [] : [{ kind, at: Math.round(due), says }];
  }).toSorted((one, other) => one.at - other.at);
}

export const KEEPS_AWAKE = ["neverIdle", "requests", "sockets", "busy", "warmHours", "recentUse"] as const;

/** One thing that prevents a container's stop for idleness. */
export type KeepsAwake = { kind: (typeof KEEPS_AWAKE)[number]; says: string };

/** A sentence where it holds. */
const AWAKE_REASONS: Record<KeepsAwake["kind"], (context: ExplainContext) => string | undefined> = {
  neverIdle: ({ row }) =>
    row.config.shutdownTimeoutMinutes === undefined
      ? "Its container.json has no shutdown_timeout: it runs until a user stops it or its package is published again."
      : undefined,
  requests: ({ usage: { open } }) => (open === 0 ? undefined : `${open === 1 ? "One request is" : `${open} requests are`} open.`),
  sockets: ({ usage: { sockets } }) =>
    sockets === 0 ? undefined : `${sockets === 1 ? "A WebSocket is" : `${sockets} WebSockets are`} open; only their traffic counts as use.`,
  busy: ({ row, now, limits }) =>
    busyMs(row, now, limits) > 0 ? `It has reported that it is busy until ${new Date(row.busyUntil).toISOString()}.` : undefined,
  warmHours: ({ row, now }) => {
    const leftMs = warmMs(row, now);
    return leftMs > 0 ? `Its keep_warm hours last until ${new Date(now + leftMs).toISOString()}.` : undefined;
  },
  recentUse: ({ row, now, usage, limits }) => {
    const minutesIdle = row.config.shutdownTimeoutMinutes;
    if (minutesIdle === undefined || usage.open > 0 || busyMs(row, now, limits) > 0 || warmMs(row, now) > 0) return undefined;
    return `It was started, or had traffic, within the last ${minutesIdle === 1 ? "minute" : minutes(minutesIdle)}.`;
  },
};

/** Empty for one that does not run. */
export function keepsAwake(context: ExplainContext): KeepsAwake[] {
  if (context.row.state !== "STARTED") return [];
  return KEEPS_AWAKE.flatMap((kind) => {
    const says = AWAKE_REASONS[kind](context);
    return says === undefined ? [] : [{ kind, says }];
  });
}
