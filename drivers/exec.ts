import type { DriverName } from "./driver.ts";

/** Why a driver has no `exec`: sentences for users. */
export const NO_EXEC: Readonly<Partial<Record<DriverName, string>>> = {
  ecs: "berth opens no shell in tasks of ECS: run `aws ecs execute-command`, which needs the Session Manager plugin.",
  kubernetes: "berth opens no shells in pods yet: run `kubectl exec`.",
  process: "A plain process shares berth's user and files, so berth opens no shell beside it: use a shell of this machine.",
  spawner: "The spawner's API has no call for a shell: open one on the machine of the spawner.",
};
