import type { Service } from "@aws-sdk/client-ecs";
import type { Fault } from "../../lib/fault.ts";
import { advisedFault } from "../advice.ts";
import { faultOf } from "./stopped.ts";

/** True where ECS will start no more tasks of this rollout. */
export function isGivenUp({ deployments }: Service): boolean {
  return deployments?.some(({ status, rolloutState }) => status === "PRIMARY" && rolloutState === "FAILED") === true;
}

/** Why ECS gave up, by what it says of the rollout itself. */
export function givenUpFault({ deployments }: Service, service: string): Fault {
  const reason = deployments?.find(({ rolloutState }) => rolloutState === "FAILED")?.rolloutStateReason ?? "";
  const sentence = `ECS gave up starting ${service}: ${reason || "it says no reason"}`;
  return faultOf(service, reason) ?? advisedFault("CONTAINER_NOT_READY", sentence, { todo: "Look at the service's events in AWS's console." });
}

/**
 * Why no task could even be made, by the events that were not there before: service-event-messages-list.html of the developer guide. Not yet `late`, a
 * role that cannot be taken says nothing: it may have been made a moment ago, and the scheduler tries again by itself.
 */
export function unplacedFault({ events }: Service, service: string, before: ReadonlySet<string>, late: boolean): Fault | undefined {
  for (const { id, message = "" } of events ?? []) {
    if (before.has(id ?? "") || !/unable to place a task|failed to launch a task/i.test(message)) continue;
    if (!late && /unable to assume/i.test(message)) continue;
    return faultOf(service, message) ?? advisedFault("CONTAINER_UNSCHEDULABLE", `ECS could not place a task of ${service}: ${message.slice(0, 400)}`);
  }
  return undefined;
}
