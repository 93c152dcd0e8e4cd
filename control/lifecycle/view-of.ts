import type { FaultData } from "../../lib/fault.ts";
import type { ContainerView, Standing } from "../../gateway/contract.ts";
import type { ContainerToView as Container } from "../store/containers.ts";
import type { ContainerState } from "../model/states.ts";

const COMING: Standing = { kind: "coming", step: "queue" };
const CHECKED: Standing = { kind: "coming", step: "check" };
const STARTING: Standing = { kind: "coming", step: "start" };
const ASLEEP: Standing = { kind: "asleep" };

/** What a gateway may do with a container in each state. */
const STANDINGS: Record<ContainerState, (container: Container) => Standing> = {
  PENDING_START: () => COMING,
  STARTING: () => STARTING,
  STARTED: awake,
  CHECKING: () => CHECKED,
  PENDING_USER_STOP: atRest,
  PENDING_SYSTEM_STOP: atRest,
  STOPPING: atRest,
  USER_STOPPED: atRest,
  SYSTEM_STOPPED: atRest,
  ERROR: failed,
};

export function viewOf(container: Container): ContainerView {
  const { id, name, phases } = container;
  return { id, name, standing: STANDINGS[container.state](container), ...(phases ? { start: phases } : {}) };
}

function awake({ address }: Container): Standing {
  return address ? { kind: "awake", addresses: [{ host: address.host, port: address.port }] } : { kind: "portless" };
}

/** Stopped or about to be: a request wakes it where it is on-demand, even after a user's stop, or where it went to sleep by itself. */
function atRest(container: Container): Standing {
  if (container.desiredInstances === 1) return COMING;
  if (container.config.onDemand || container.stopFor === "system") return ASLEEP;
  const fault: FaultData = { code: "CONTAINER_STOPPED", message: `The container ${container.name} is not running; a user has to start it.` };
  return { kind: "stopped", fault };
}

function failed(container: Container): Standing {
  const fault = container.fault ?? { code: "INTERNAL", message: `The container ${container.name} failed.` };
  return { kind: "failed", fault, wakeable: container.config.onDemand, retryAt: container.notBefore };
}
