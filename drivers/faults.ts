import { trimTrailing } from "../lib/character-classes.ts";
import { Fault, type FaultCode } from "../lib/fault.ts";
import { killHint, type Spec } from "./driver.ts";

/**
 * Every fault that a driver throws: meaning and advice. The table in docs/reference/drivers.md is written from it.
 */
export const ADVICE = {
  IMAGE_REFERENCE_INVALID: {
    means: "The image's name is not valid, or its Dockerfile cannot be run.",
    todo: "Correct `image` in image.json or container.json and publish again.",
  },
  IMAGE_NOT_FOUND: {
    means: "No configured registry has the image or the tag, or the engine no longer has it.",
    todo: "Push it, or correct its name, and publish again.",
  },
  IMAGE_REFUSED: {
    means: "The image breaks a rule of this server: its name, signature, size, age or configuration; the message names it, and what is allowed.",
    todo: "Follow the message, and publish again. [Rules for images](../image-policy.md).",
  },
  PULL_DENIED: {
    means: "The registry refused the pull; the message names the credentials.",
    todo: "Give that user read access to the repository, or set REGISTRY_USERNAME and REGISTRY_PASSWORD.",
  },
  REGISTRY_UNREACHABLE: {
    means: "The registry does not answer this machine, or the machine that pulls; the message says which.",
    todo: "Check that it runs, and that this machine reaches it and trusts its certificate.",
  },
  NO_CAPACITY: {
    means: "No machine has what the container requests: processors, memory, GPUs, disk, addresses, ports.",
    todo: "Stop other containers, add a machine, or request less in container.json.",
  },
  CONTAINER_UNSCHEDULABLE: {
    means: "The scheduler's rules exclude every machine: labels, platforms, machines that are drained or down.",
    todo: "Compare the rule in the message with the machines' labels and states.",
  },
  CONTAINER_OUT_OF_MEMORY: {
    means: "The container used more memory than its limit and was killed.",
    todo: "Raise `memory` in container.json.",
  },
  CONTAINER_CRASHED: {
    means: "The container's program ended; the message has its exit code, and berth keeps the log tail.",
    todo: "Read the log tail.",
  },
  CONTAINER_NOT_READY: {
    means: "The container runs, but berth has no way to reach it.",
    todo: "Check BERTH_DOCKER_REACH against where berth and the container run.",
  },
  SPEC_REFUSED: {
    means: "The orchestrator refuses the request, or the name belongs to a foreign service.",
    todo: "Correct container.json, or remove the service with that name.",
  },
  ADDRESS_REFUSED: {
    means: "The orchestrator reports a link-local address or a cloud's metadata, to which no gateway may send requests.",
    todo: "Check that the real orchestrator answers, and on which network the container is.",
  },
  EXEC_UNAVAILABLE: {
    means: "The orchestrator runs no commands in this container, or berth has no way to do so.",
    todo: "Follow the message: it names another way.",
  },
  ENGINE_ACTION_DENIED: {
    means: "The orchestrator denies a call that berth needs; the message names the permission.",
    todo: "Grant that permission to berth's role or account.",
  },
  ENGINE_UNREACHABLE: {
    means: "The orchestrator does not answer at its address, or not in time. Nothing changes meanwhile, and berth retries.",
    todo: "Check that it runs and that its address is right.",
  },
  ENGINE_FAILED: {
    means: "The orchestrator failed, or did not finish its work in time. berth retries.",
    todo: "Read the orchestrator's log.",
  },
} as const satisfies Partial<Record<FaultCode, { means: string; todo: string }>>;

export type DriverFaultCode = keyof typeof ADVICE;

/** A fault whose message ends with advice: `todo`, if it is more specific than the code's. */
export function advisedFault(
  code: DriverFaultCode,
  sentence: string,
  { todo = ADVICE[code].todo, ...more }: ConstructorParameters<typeof Fault>[2] & { todo?: string | undefined } = {},
): Fault {
  return new Fault(code, `${trimTrailing(sentence, " \t\r\n.")}. ${todo}`, more);
}

/** The delay before the same call may be repeated. */
const CALL_AGAIN_MS = 1_000;

/** The orchestrator accepted a call and did not answer within the call's limit. It may still answer, so the caller may repeat the call. */
export function unansweredFault(sentence: string, more: Parameters<typeof advisedFault>[2] = {}): Fault {
  return advisedFault("ENGINE_UNREACHABLE", sentence, { ...more, retryAfterMs: CALL_AGAIN_MS });
}

/** The number of log lines that are kept of a container that failed. */
export const LOG_TAIL_LINES = 20;

/**
 * A container ended before it was ready; an adopted one was ready earlier. `code` and `outOfMemory` are undefined if unknown; `reason` is the orchestrator's own
 * sentence.
 */
export function crashFault(
  spec: Pick<Spec, "service" | "memoryMb">,
  how: { code: number | undefined; outOfMemory: boolean | undefined; reason?: string | undefined; adopted?: boolean },
  logs: string[],
): Fault {
  const { code, outOfMemory, reason, adopted = false } = how;
  const before = adopted ? "" : " before it was ready";
  if (outOfMemory) {
    const sentence = `${spec.service} ran out of memory (its limit is ${spec.memoryMb} MB) and was killed${before}, exit code ${code ?? "unknown"}.`;
    return advisedFault("CONTAINER_OUT_OF_MEMORY", sentence, { logs });
  }
  const sentence = `${spec.service} ended${before}, exit code ${code ?? "unknown"}${killHint(code, outOfMemory)}${reason ? `: ${reason}` : ""}`;
  return advisedFault("CONTAINER_CRASHED", sentence, { logs, todo: adviceOnExec([reason ?? "", ...logs].join("\n")) });
}

/** What to do about a program that the kernel or the engine cannot execute, by what they say; undefined for any other failure. */
export function adviceOnExec(text: string): string | undefined {
  if (/exec format error/i.test(text))
    return "Its program is built for another kind of processor (build the image with --platform linux/amd64 or linux/arm64, as the machine is), or is a script without a first line such as #!/bin/sh.";
  if (/executable file not found|exec: .*no such file or directory/i.test(text))
    return "CMD or ENTRYPOINT of the Dockerfile names a program that the image does not have.";
  return undefined;
}

/** The last lines of a log. A log that cannot be read gives what was read so far: the container's failure matters more. */
export async function logTail(pieces: AsyncIterable<string>, signal: AbortSignal): Promise<string[]> {
  let text = "";
  try {
    for await (const piece of pieces) text += piece;
  } catch {
    signal.throwIfAborted();
  }
  return linesOf(text).slice(-LOG_TAIL_LINES);
}

export function linesOf(text: string): string[] {
  return text.split(/\r?\n/).filter((line) => line !== "");
}
