import { randomUUID } from "node:crypto";
import type { DriverName } from "./driver.ts";

/** Why a driver has no `exec`: sentences for users. */
export const NO_EXEC: Readonly<Partial<Record<DriverName, string>>> = {
  ecs: "Tasks of ECS have no role for shells here: set BERTH_ECS_SHELL_ROLE, restart berth, and start the container again.",
  process: "A plain process shares berth's user and files, so berth opens no shell beside it: use a shell of this machine.",
  spawner: "The spawner's API has no call for a shell: open one on the machine of the spawner.",
};

/** In the environment of the command and all that it starts, so that they are found when its client has left: the orchestrator would leave them running. */
export type ExecMark = { variable: "BERTH_EXEC"; value: string };

export function createMark(): ExecMark {
  return { variable: "BERTH_EXEC", value: randomUUID() };
}

/** A shell script that sends SIGHUP to what has the mark, as a terminal that is closed does. It needs `grep` as well. */
export function endMarkedScript({ variable, value }: ExecMark): string {
  return `for p in /proc/[0-9]*; do grep -qs ${variable}=${value} "$p/environ" && kill -HUP "\${p#/proc/}"; done`;
}
