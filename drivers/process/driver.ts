import { availableParallelism, totalmem } from "node:os";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { advisedFault } from "../faults.ts";
import type { Driver, Observed } from "../driver.ts";
import { deploy } from "./deploy.ts";
import { destroy } from "./destroy.ts";
import { events } from "./events.ts";
import { resolve } from "./resolve.ts";
import { logs } from "./logs.ts";
import { type ProcessState, instanceOf, openRecords } from "./records.ts";

export type ProcessOptions = {
  /** Where the records and logs of services lie; of this driver alone. */
  folder: string;
  /** What `node` in a CMD stands for. */
  nodePath: string;
};

/**
 * Runs a package's folder on this machine without an engine: the CMD of its Dockerfile as a child process. It listens to the
 * variable PORT, whatever port it exposes. Services outlive berth and are found again. Faults: ENGINE_FAILED where the folder
 * cannot be used.
 */
export function processDriver(options: ProcessOptions & { clock: Clock; log: Log }): Driver {
  const { clock, log, nodePath } = options;
  const records = translated("Opening the folder of services", () => openRecords(options.folder));
  log.warn(
    { folder: options.folder },
    "The process driver isolates nothing: services run as this user, with its files and network. It keeps to none of cpu, memory, gpu, shm_size and storage of container.json. Use it to try berth out.",
  );
  return {
    name: "process",
    resolve: (image, { signal }) => translatedLater(`Reading the files of ${image.ref}`, () => resolve(image, signal), signal),
    deploy: (spec, call) => translatedLater(`Starting ${spec.service}`, () => deploy({ records, clock, nodePath }, spec, call), call.signal),
    destroy: (service, { signal }) => translatedLater(`Stopping ${service}`, () => destroy(records, clock, service, signal), signal),
    inspect: (service, { signal }) =>
      translatedLater(
        `Inspecting ${service}`,
        async () => {
          signal.throwIfAborted();
          const found = records.find(service);
          return found && observed(found);
        },
        signal,
      ),
    list: ({ signal }) =>
      translatedLater(
        "Listing services",
        async () => {
          signal.throwIfAborted();
          return records.all().map(observed);
        },
        signal,
      ),
    logs: (service, which, call) => logs(records, clock, service, which, call),
    capacity: async () => ({ machines: 1, cpu: availableParallelism(), memoryMb: Math.floor(totalmem() / 1_048_576) }),
    events: (call) => events(records, clock, call),
    close: async () => {},
  };
}

function observed(found: ProcessState): Observed {
  const { service, labels, port, running, exitCode } = found;
  return {
    service,
    labels,
    running,
    instance: instanceOf(found),
    ...(running && port !== undefined ? { address: { host: "127.0.0.1", port } } : {}),
    ...(exitCode === undefined ? {} : { exit: { code: exitCode, outOfMemory: false } }),
  };
}

async function translatedLater<T>(doing: string, task: () => Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await task();
  } catch (error) {
    throw signal.aborted ? signal.reason : machineFault(error, doing);
  }
}

function translated<T>(doing: string, task: () => T): T {
  try {
    return task();
  } catch (error) {
    throw machineFault(error, doing);
  }
}

/** What the machine refuses, in the house's words; a bug of ours stays what it is. */
function machineFault(error: unknown, doing: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof Fault || typeof code !== "string") return error;
  const full = ["ENOSPC", "EDQUOT", "EAGAIN", "ENOMEM", "EMFILE", "ENFILE"].includes(code);
  return advisedFault(full ? "NO_CAPACITY" : "ENGINE_FAILED", `${doing}: the machine refused (${code}).`, { cause: error });
}
