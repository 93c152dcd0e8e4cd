import { Fault, type FaultCode } from "../lib/fault.ts";
import { trimTrailing } from "../lib/trim-trailing.ts";

/**
 * What may go wrong between a wish and a container that answers, whichever driver is in use: what it means, and what to do. A driver throws none
 * but these. The table in docs/reference/drivers.md is made of it.
 */
export const ADVICE = {
  IMAGE_REFERENCE_INVALID: {
    means: "The image's name cannot be read as one, or its Dockerfile cannot be run.",
    todo: "Correct `image` in image.json or container.json and publish again.",
  },
  IMAGE_NOT_FOUND: {
    means: "No registry that is asked has the image or the tag, or the engine no longer has it.",
    todo: "Push it, or correct its name, and publish again.",
  },
  PULL_DENIED: {
    means: "The registry has refused the pull; the message says with whose credentials it was asked.",
    todo: "Give that user the right to read the repository, or set REGISTRY_USERNAME and REGISTRY_PASSWORD.",
  },
  REGISTRY_UNREACHABLE: {
    means: "The registry does not answer, or not to the machine that would pull; the message says to whom.",
    todo: "See that it runs, and that this machine reaches it and trusts its certificate.",
  },
  NO_CAPACITY: {
    means: "No machine has room for what the container asks for: processors, memory, GPUs, disk, addresses, ports.",
    todo: "Stop other containers, add a machine, or ask for less in container.json.",
  },
  CONTAINER_UNSCHEDULABLE: {
    means: "There are machines, but by the scheduler's rules none may take the container: labels, platforms, machines that are drained or down.",
    todo: "Compare the rule in the message with the machines' labels and states.",
  },
  CONTAINER_OUT_OF_MEMORY: {
    means: "The container used more memory than its limit and was killed.",
    todo: "Raise `memory` in container.json.",
  },
  CONTAINER_CRASHED: {
    means: "The container's own program ended; the message has its exit code, and its last lines are kept.",
    todo: "Read its last lines.",
  },
  CONTAINER_NOT_READY: {
    means: "The container runs, but there is no way on which berth could reach it.",
    todo: "Compare BERTH_DOCKER_REACH with where berth and the container run.",
  },
  SPEC_REFUSED: {
    means: "The orchestrator does not take what was asked for, or the name belongs to somebody else's service.",
    todo: "Correct container.json, or remove what has the name.",
  },
  ADDRESS_REFUSED: {
    means: "The orchestrator says that the container is at a link-local address or a cloud's metadata, where no gateway may send anybody.",
    todo: "See who answers in the orchestrator's place, and on which network the container is.",
  },
  ENGINE_ACTION_DENIED: {
    means: "The orchestrator does not permit berth a call that it needs; the message names the permission.",
    todo: "Grant that permission to berth's role or account.",
  },
  ENGINE_UNREACHABLE: {
    means: "The orchestrator does not answer at its address. Nothing changes meanwhile, and berth tries again by itself.",
    todo: "See that it runs and that its address is right.",
  },
  ENGINE_FAILED: {
    means: "The orchestrator answered with a failure of its own, or not in time. berth tries again by itself.",
    todo: "Look at the orchestrator's own log.",
  },
} as const satisfies Partial<Record<FaultCode, { means: string; todo: string }>>;

export type DriverFaultCode = keyof typeof ADVICE;

/** A fault whose message ends with what to do: `todo`, where more is known than the code alone says. */
export function advisedFault(
  code: DriverFaultCode,
  sentence: string,
  { todo = ADVICE[code].todo, ...more }: ConstructorParameters<typeof Fault>[2] & { todo?: string | undefined } = {},
): Fault {
  return new Fault(code, `${trimTrailing(sentence, " \t\r\n.")}. ${todo}`, more);
}
