import { busyMs } from "../keep-container.ts";
import { warmMs } from "../idle-policy.ts";
import type { About } from "./about.ts";
import { minutes } from "./why.ts";

export const KEEPS_AWAKE = ["neverIdle", "requests", "sockets", "busy", "warmHours", "recentUse"] as const;

/** One thing that keeps a container from its idle stop. */
export type KeepsAwake = { kind: (typeof KEEPS_AWAKE)[number]; says: string };

/** A sentence where it holds. */
const ROWS: Record<KeepsAwake["kind"], (about: About) => string | undefined> = {
  neverIdle: ({ row }) =>
    row.config.shutdownTimeoutMinutes === undefined
      ? "Its container.json has no shutdown_timeout: it runs until somebody stops it or its package is published again."
      : undefined,
  requests: ({ row, rooms }) => {
    const open = rooms.usage.open(row.id);
    return open === 0 ? undefined : `${open === 1 ? "One request is" : `${open} requests are`} open.`;
  },
  sockets: ({ row, rooms }) => {
    const sockets = rooms.usage.sockets(row.id);
    return sockets === 0
      ? undefined
      : `${sockets === 1 ? "A WebSocket is" : `${sockets} WebSockets are`} open; only what passes over them counts as use.`;
  },
  busy: ({ row, rooms }) => (busyMs(rooms, row) > 0 ? `It has said that it is busy until ${new Date(row.busyUntil).toISOString()}.` : undefined),
  warmHours: ({ row, rooms }) => {
    const leftMs = warmMs(rooms, row);
    return leftMs > 0 ? `Its keep_warm hours last until ${new Date(rooms.clock.now() + leftMs).toISOString()}.` : undefined;
  },
  recentUse: ({ row, rooms }) => {
    const minutesIdle = row.config.shutdownTimeoutMinutes;
    if (minutesIdle === undefined || rooms.usage.open(row.id) > 0 || busyMs(rooms, row) > 0 || warmMs(rooms, row) > 0) return undefined;
    return `It was used, or started, within ${minutesIdle === 1 ? "the last minute" : `the last ${minutes(minutesIdle)}`}.`;
  },
};

/** Empty for one that does not run. */
export function keepsAwake(about: About): KeepsAwake[] {
  if (about.row.state !== "STARTED") return [];
  return KEEPS_AWAKE.flatMap((kind) => {
    const says = ROWS[kind](about);
    return says === undefined ? [] : [{ kind, says }];
  });
}
