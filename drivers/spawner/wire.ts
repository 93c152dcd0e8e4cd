import { resolve } from "node:path";
import { Fault, type FaultData, FAULTS } from "../../lib/fault.ts";
import type { DriverTimes } from "../../lib/start-phases.ts";
import type { Deployment, Labels, Observed, ResolvedImage, Spec } from "../driver.ts";

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
  package?: string;
  labels: Labels;
};

type WireAddress = { address?: string; port?: number };
type WireDeployment = WireAddress & { serviceName: string; instance?: string; phases: DriverTimes };
export type WireObserved = WireAddress & {
  serviceName: string;
  running: boolean;
  paused?: true;
  instance?: string;
  labels: Labels;
  exit?: { code: number; outOfMemory: boolean };
};

/** The lines of a response that takes time. The last line is the result. Empty lines are heartbeats. */
export type WireLine = { pull: { done: number; total: number } } | { image: ResolvedImage } | { deployment: WireDeployment } | { fault: FaultData };

/** The media type of responses in lines: each line is a JSON value. */
export const LINES = "application/x-ndjson";
/** The longest silence of a response in lines, in milliseconds. After twice that the connection counts as broken. */
export const BEAT_MS = 10_000;

export function specOnWire({ image, folder, env, cpu, memoryMb, shmMb, storageGb, gpu, port, graceMs, labels, package: of }: Spec): WireSpec {
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
    ...(of === undefined ? {} : { package: of }),
    labels,
  };
}

/** The receiver works in another folder. */
export function folderOnWire(folder: string | undefined): Pick<WireSpec, "folder"> {
  return folder === undefined ? {} : { folder: resolve(folder) };
}

export function deploymentOnWire(serviceName: string, { address, instance, phases }: Deployment): WireDeployment {
  return { serviceName, ...addressOnWire(address), ...(instance === undefined ? {} : { instance }), phases };
}

export function deploymentOff({ address, port, instance, phases }: WireDeployment): Deployment {
  return { ...addressOff({ address, port }), ...(typeof instance === "string" ? { instance } : {}), phases };
}

export function observedOnWire({ service, running, paused, instance, labels, address, exit }: Observed): WireObserved {
  return {
    serviceName: service,
    running,
    ...(paused ? { paused } : {}),
    ...(instance === undefined ? {} : { instance }),
    labels,
    ...addressOnWire(address),
    ...(exit ? { exit } : {}),
  };
}

export function observedOff({ serviceName, running, paused, instance, labels, address, port, exit }: WireObserved): Observed {
  return {
    service: serviceName,
    labels,
    running,
    ...(paused ? { paused } : {}),
    ...(typeof instance === "string" ? { instance } : {}),
    ...addressOff({ address, port }),
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

function addressOnWire(address: Deployment["address"]): WireAddress {
  return address === undefined ? {} : { address: address.host, port: address.port };
}

function addressOff({ address, port }: { [Name in keyof WireAddress]: WireAddress[Name] | undefined }): Pick<Deployment, "address"> {
  return address === undefined || port === undefined ? {} : { address: { host: address, port } };
}
