import type { V1Pod } from "@kubernetes/client-node";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import { trimTrailing } from "../../lib/trim-trailing.ts";

/** What to do about a start that the cluster could not make, where its own sentence does not say. */
const TODO: Partial<Record<FaultCode, string>> = {
  IMAGE_REFERENCE_INVALID: "Correct the image's name and publish again.",
  IMAGE_NOT_FOUND: "Push the image again, or correct its name, and publish again.",
  PULL_DENIED: "Give nodes what they may pull it with: GROK_SPAWNER_KUBERNETES__DOCKER_AUTH.",
  REGISTRY_UNREACHABLE: "See that nodes reach that registry and trust its certificate.",
  NO_CAPACITY: "Make room, or ask for less in container.json.",
  CONTAINER_UNSCHEDULABLE: "Free or add a node that fits, or ask for less in container.json.",
};

/** The fault of a pod that cannot run, with the cluster's own sentence; a pull that was denied says with whose credentials it was asked. */
export function startFault(service: string, pod: V1Pod | undefined, { code, says }: { code: FaultCode; says: string }): Fault {
  const secrets = (pod?.spec?.imagePullSecrets ?? []).map(({ name }) => name);
  const whose = secrets.length === 0 ? "no credentials but the node's own" : `those of ${secrets.join(" and ")}`;
  const sentence = code === "PULL_DENIED" ? `${says} (asked with ${whose})` : says;
  const todo = TODO[code];
  return new Fault(code, `${service}: ${trimTrailing(sentence, " \t\r\n.")}.${todo === undefined ? "" : ` ${todo}`}`);
}
