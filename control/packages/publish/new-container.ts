import type { Container, ContainerConfig } from "../../model/entities.ts";
import { serviceName } from "../../model/names.ts";

/** A container that nobody has started yet: an on-demand one sleeps, any other waits for a user's start. */
export function newContainer(environment: string, id: string, name: string, config: ContainerConfig, now: number) {
  return {
    id,
    service: serviceName(environment, name, id),
    generation: 1,
    desiredInstances: 0,
    wishedBy: undefined,
    wishedKey: undefined,
    wishedSession: undefined,
    wishedOn: 0,
    wishedFor: undefined,
    stopFor: config.onDemand ? "system" : "user",
    state: config.onDemand ? "SYSTEM_STOPPED" : "USER_STOPPED",
    since: now,
    fault: undefined,
    runningGeneration: undefined,
    deployed: undefined,
    adopted: undefined,
    address: undefined,
    phases: undefined,
    pausedOn: undefined,
    busyUntil: 0,
    attempts: 0,
    notBefore: 0,
    lastLogs: "",
    lastActive: 0,
    createdOn: now,
  } as const satisfies Partial<Container>;
}
