import { availableParallelism, totalmem } from "node:os";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Call, Driver, DriverEvent, Observed } from "../driver.ts";
import { advisedFault } from "../faults.ts";
import { refuseForeignOwner } from "../labels.ts";
import { deploy } from "./deploy.ts";
import { cutLog, logs } from "./logs.ts";
import { processListeners, processUsage } from "./process-tree.ts";
import { destroy, instanceOf, openRecords, type ProcessState, type Records } from "./records.ts";
import { resolve } from "./resolve.ts";

export type ProcessOptions = {
  /** For the records and logs of services; used by this driver only. */
  folder: string;
  /** Replaces `node` in a CMD. */
  nodePath: string;
};

/**
 * Runs a package's folder on this machine without an engine: the CMD of its Dockerfile as a child process. It must listen on the port of the variable
 * PORT, whatever port it exposes. Services outlive berth, which then adopts them. Faults: ENGINE_FAILED if the folder cannot be used.
 */
export function processDriver(options: ProcessOptions & { clock: Clock; log: Log }): Driver {
  const { clock, log, nodePath } = options;
  const records = translateError("Opening the folder of services", () => openRecords(options.folder));
  log.warn(
    { folder: options.folder, ignored: ["cpu", "memory", "gpu", "shm_size", "storage"] },
    "process driver isolates nothing: services run as this user, without limits",
  );
  return {
    name: "process",
    replicas: {},
    resolve: (image, { signal }) => translateErrors(`Reading the files of ${image.ref}`, () => resolve(image, signal), signal),
    deploy: (spec, call) => translateErrors(`Starting ${spec.service}`, () => deploy({ records, clock, nodePath }, spec, call), call.signal),
    destroy: (service, { signal, owner }) =>
      translateErrors(
        `Stopping ${service}`,
        async () => {
          const current = owner && records.find(service);
          if (owner && current) refuseForeignOwner(current.labels, { service, labels: owner });
          // Of a record without a claim, the name alone decides, as ever.
          await destroy(records, clock, service, signal, current?.claim);
        },
        signal,
      ),
    inspect: (service, { signal }) =>
      translateErrors(
        `Inspecting ${service}`,
        async () => {
          signal.throwIfAborted();
          const state = records.find(service);
          return state && observe(state);
        },
        signal,
      ),
    list: ({ signal }) =>
      translateErrors(
        "Listing services",
        async () => {
          signal.throwIfAborted();
          return records.all().map(observe);
        },
        signal,
      ),
    logs: (service, options, call) => logs(records, clock, service, options, call),
    usage: async (service, { signal }) => {
      signal.throwIfAborted();
      const state = records.find(service);
      return state?.running && state.process ? processUsage(state.process.pid, signal) : undefined;
    },
    listeners: async (service, { signal }) => {
      signal.throwIfAborted();
      const state = records.find(service);
      return state && processListeners(state, signal);
    },
    capacity: async () => ({ machines: 1, cpu: availableParallelism(), memoryMb: Math.floor(totalmem() / 1_048_576) }),
    events: (call) => events(records, clock, call),
    close: async () => {},
  };
}

function observe(state: ProcessState): Observed {
  const { service, labels, port, running, exitCode } = state;
  return {
    service,
    labels,
    running,
    instance: instanceOf(state),
    addresses: running && port !== undefined ? [{ host: "127.0.0.1", port }] : [],
    ...(exitCode === undefined ? {} : { exit: { code: exitCode, outOfMemory: false } }),
  };
}

/** The kernel does not report the end of a process that another berth started, so this reads the records: a few small files. */
const POLL_MS = 250;

/** Logs are cut at every 20th poll: every five seconds. */
const CUT_EVERY = 20;

/** An instance is a process (`instanceOf`). */
async function* events(records: Records, clock: Clock, { signal }: Call): AsyncGenerator<DriverEvent> {
  if (signal.aborted) return;
  let before = readStates(records);
  yield { kind: "connected" };
  for (let polls = 0; !signal.aborted; polls++) {
    if (polls % CUT_EVERY === 0) for (const { service } of records.all()) cutLog(records.logPath(service));
    const now = readStates(records);
    for (const service of new Set([...before.keys(), ...now.keys()])) {
      const [old, one] = [before.get(service), now.get(service)];
      if (old?.digest === one?.digest) continue;
      const ended = old?.instance !== undefined && (one?.running !== true || one.instance !== old.instance);
      yield { kind: "changed", service, container: (one ?? old)?.container ?? "", ...(ended ? { ended: { instance: old.instance } } : {}) };
    }
    before = now;
    await clock.sleep(POLL_MS, signal).catch(() => {});
  }
}

/** `digest` changes whenever the result of `inspect` does. */
type RecordState = { container: string; running: boolean; instance: string | undefined; digest: string };

function readStates(records: Records): Map<string, RecordState> {
  return new Map(
    records.all().map((state) => {
      const { service, labels, running, exitCode } = state;
      const instance = instanceOf(state);
      return [service, { container: labels.container, running, instance, digest: `${running} ${instance} ${exitCode}` }];
    }),
  );
}

async function translateErrors<T>(doing: string, task: () => Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await task();
  } catch (error) {
    throw signal.aborted ? signal.reason : machineFault(error, doing);
  }
}

function translateError<T>(doing: string, task: () => T): T {
  try {
    return task();
  } catch (error) {
    throw machineFault(error, doing);
  }
}

/** The fault of a system error. Another error is a bug, and stays as it is. */
function machineFault(error: unknown, doing: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof Fault || typeof code !== "string") return error;
  const full = ["ENOSPC", "EDQUOT", "EAGAIN", "ENOMEM", "EMFILE", "ENFILE"].includes(code);
  return advisedFault(full ? "NO_CAPACITY" : "ENGINE_FAILED", `${doing}: the machine refused (${code}).`, { cause: error });
}
