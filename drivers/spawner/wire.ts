import { resolve } from "node:path";
import { Fault, type FaultData, FAULTS } from "../../lib/fault.ts";
import type { DriverTimes } from "../../lib/start-phases.ts";
import type { Address, Deployment, Labels, Observed, Readiness, ResolvedImage, Spec } from "../driver.ts";

/** The wire types of the spawner's API. Names are those of `container.json` and of the container entity. */
type WireSpec = {
  image: string;
  folder?: string;
  environmentVars: Record<string, string>;
  /** Cores, megabytes, megabytes, gigabytes. */
  cpu: number;
  memory: number;
  shm_size: number;
  storage: number;
  gpu: number;
  port?: number;
  /** Milliseconds. */
  graceMs: number;
  shutdown_grace_seconds?: number;
  /** A spawner that does not know it waits for the port, or without one for `graceMs`. */
  readiness: Readiness;
  package?: string;
  alias?: string;
  labels: Labels;
};

/** `address` and `port` are the first. `addresses` has all, if there are several. */
type WireAddresses = { address?: string; port?: number; addresses?: Address[] };
type WireDeployment = WireAddresses & { serviceName: string; instance?: string; phases: DriverTimes; warning?: string };
export type WireObserved = WireAddresses & {
  serviceName: string;
  running: boolean;
  paused?: true;
  instance?: string;
  labels: Labels;
  exit?: { code: number; outOfMemory: boolean };
};

/** Older spawners send no command. */
export type WireImage = Omit<ResolvedImage, "command"> & Partial<Pick<ResolvedImage, "command">>;

/** The lines of a response that takes time. The last line is the result. Empty lines are heartbeats. */
export type WireLine = { pull: { done: number; total: number } } | { image: WireImage } | { deployment: WireDeployment } | { fault: FaultData };

/** The media type of responses in lines: each line is a JSON value. */
export const LINES = "application/x-ndjson";
/** The longest silence of a response in lines, in milliseconds. After twice that the connection counts as broken. */
export const BEAT_MS = 10_000;

export function specOnWire({
  image,
  folder,
  env,
  cpu,
  memoryMb,
  shmMb,
  storageGb,
  gpu,
  port,
  graceMs,
  shutdownGraceSeconds,
  readiness,
  labels,
  alias,
  package: of,
}: Spec): WireSpec {
  return {
    image,
    ...folderOnWire(folder),
    environmentVars: env,
    cpu,
    memory: memoryMb,
    shm_size: shmMb,
    storage: storageGb,
    gpu,
    ...(port === undefined ? {} : { port }),
    graceMs,
    ...(shutdownGraceSeconds === undefined ? {} : { shutdown_grace_seconds: shutdownGraceSeconds }),
    readiness,
    ...(of === undefined ? {} : { package: of }),
    ...(alias === undefined ? {} : { alias }),
    labels,
  };
}

/** The receiver works in another folder. */
export function folderOnWire(folder: string | undefined): Pick<WireSpec, "folder"> {
  return folder === undefined ? {} : { folder: resolve(folder) };
}

export function deploymentOnWire(serviceName: string, { addresses, instance, phases, warning }: Deployment): WireDeployment {
  const noted = { ...(instance === undefined ? {} : { instance }), ...(warning === undefined ? {} : { warning }) };
  return { serviceName, ...addressesOnWire(addresses), ...noted, phases };
}

export function deploymentOff({ instance, phases, warning, ...at }: WireDeployment): Deployment {
  const noted = { ...(typeof instance === "string" ? { instance } : {}), ...(typeof warning === "string" ? { warning } : {}) };
  return { addresses: addressesOff(at), ...noted, phases };
}

export function observedOnWire({ service, running, paused, instance, labels, addresses, exit }: Observed): WireObserved {
  return {
    serviceName: service,
    running,
    ...(paused ? { paused } : {}),
    ...(instance === undefined ? {} : { instance }),
    labels,
    ...addressesOnWire(addresses),
    ...(exit ? { exit } : {}),
  };
}

export function observedOff({ serviceName, running, paused, instance, labels, exit, ...at }: WireObserved): Observed {
  return {
    service: serviceName,
    labels,
    running,
    ...(paused ? { paused } : {}),
    ...(typeof instance === "string" ? { instance } : {}),
    addresses: addressesOff(at),
    ...(exit ? { exit } : {}),
  };
}

/** A fault from its JSON; undefined for anything else. */
export function faultOff(data: unknown): Fault | undefined {
  if (typeof data !== "object" || data === null) return undefined;
  const { code, message, logs, retryAfterMs } = data as Partial<Record<string, unknown>>;
  if (typeof code !== "string" || !Object.hasOwn(FAULTS, code) || typeof message !== "string") return undefined;
  return new Fault(code as FaultData["code"], message, {
    logs: Array.isArray(logs) ? logs.map(String) : undefined,
    retryAfterMs: typeof retryAfterMs === "number" ? retryAfterMs : undefined,
  });
}

function addressesOnWire([first, ...others]: readonly Address[]): WireAddresses {
  if (first === undefined) return {};
  return { address: first.host, port: first.port, ...(others.length > 0 ? { addresses: [first, ...others] } : {}) };
}

function addressesOff({ address, port, addresses }: { [Name in keyof WireAddresses]: WireAddresses[Name] | undefined }): Address[] {
  if (Array.isArray(addresses)) return addresses.filter((one) => typeof one?.host === "string" && typeof one.port === "number");
  return address === undefined || port === undefined ? [] : [{ host: address, port }];
}
