import { hash } from "node:crypto";
import { trimTrailing } from "../../../lib/character-classes.ts";
import { Fault } from "../../../lib/fault.ts";
import { readinessOfHealthcheck } from "../../../lib/image-healthcheck.ts";
import { isQueueWorker } from "../../../lib/queue-worker.ts";
import type { Driver, Host, Labels, Observed, Readiness, ResolvedImage, Spec } from "../../driver.ts";
import { isServiceName } from "../../labels.ts";
import { type DeployKey, ownerOf } from "./deploys.ts";
import type { Body } from "./parse-request.ts";

/** Defaults as in `container.json`. */
const DEFAULTS = { env: {}, cpu: 0.25, memoryMb: 512, shmMb: 64, storageGb: 21, gpu: 0, graceMs: 3_000 };

/** A requested deploy, before its image is resolved. */
export type DeployRequest = DeployKey & {
  /** The image of a foreign server must still be resolved. berth's own control has done that. */
  unresolved: boolean;
  image: string;
  folder: string | undefined;
  /** The full spec. The image's own port is the default of a foreign body. */
  spec(image: Pick<ResolvedImage, "id" | "exposed" | "command" | "healthcheck">): Spec;
};

/** A queue worker that a foreign server deploys counts as started after this time, as one that berth's control deploys by default. */
const WORKER_GRACE_MS = 15_000;

/** The spawner's own installation: its name, the address of its server's API for containers, and whether its driver runs the checks of images. */
export type SpawnerInstallation = { environment: string; apiUrl?: string | undefined; healthchecks?: boolean | undefined };

/**
 * A body with `labels` is from a berth: it is the spec, and its generation identifies it. A body without is from a foreign server: the spawner names and
 * labels the service, and its content and host identify it. Faults: REQUEST_INVALID.
 */
export function parseSpec(
  { host, service }: { host: Host; service: string },
  body: Body,
  { environment, apiUrl, healthchecks = false }: SpawnerInstallation,
): DeployRequest {
  const { image, labels, port, folder, readiness, ...rest } = body;
  if (image === undefined) throw new Fault("REQUEST_INVALID", "The body's image is missing.");
  const sizes = { ...DEFAULTS, ...rest };
  const supported = (one: Readiness | undefined) => (one?.kind === "healthcheck" && !healthchecks ? undefined : one);
  const imageReadiness = (own: number | undefined, check: ResolvedImage["healthcheck"], isWorker: boolean): Readiness => {
    const fallback: Readiness = isWorker ? { kind: "running" } : defaultReadiness(own);
    if (own === undefined || check === undefined) return fallback;
    if (healthchecks) return { kind: "healthcheck", ...(isWorker ? { portStaysClosed: true } : {}) };
    return readinessOfHealthcheck(check) ?? fallback;
  };
  if (labels !== undefined) {
    const name = readServiceName(service);
    return {
      service: name,
      owner: ownerOf(labels),
      identity: `generation ${labels.generation}`,
      generation: labels.generation,
      unresolved: false,
      image,
      folder,
      spec: ({ id }) => ({
        ...sizes,
        service: name,
        host,
        labels,
        image: id,
        folder,
        port,
        readiness: supported(readiness) ?? defaultReadiness(port),
      }),
    };
  }
  const name = foreignName(environment, service);
  const foreign = foreignLabels(environment, name);
  const whole = { ...sizes, env: { ...missingEnv(name, image, apiUrl), ...sizes.env } };
  return {
    service: name,
    owner: ownerOf(foreign),
    identity: digest({ ...whole, host, image, folder, port, readiness }),
    generation: undefined,
    unresolved: true,
    image,
    folder,
    spec: ({ id, exposed, command, healthcheck }) => {
      const spec = { ...whole, service: name, host, image: id, folder, port: port ?? exposed[0] };
      // A driver replaces a service of any other generation, larger or smaller.
      const labels = { ...foreign, generation: Number.parseInt(digest({ ...spec, readiness }).slice(0, 12), 16) };
      const isWorker = isQueueWorker({ command, dockerfile: "" });
      const graceMs = isWorker ? Math.max(spec.graceMs, WORKER_GRACE_MS) : spec.graceMs;
      return { ...spec, graceMs, readiness: supported(readiness) ?? imageReadiness(spec.port, healthcheck, isWorker), labels };
    },
  };
}

function defaultReadiness(port: number | undefined): Readiness {
  return { kind: port === undefined ? "running" : "port" };
}

/** The variables of a foreign server's container that the caller did not send: where the API is, and what queue workers read. */
function missingEnv(service: string, image: string, apiUrl: string | undefined): Record<string, string> {
  const name = imageNameOf(image);
  return {
    ...(apiUrl === undefined ? {} : { DATAGROK_API_URL: apiUrl }),
    CELERY_HOSTNAME: service,
    ...(name === undefined ? {} : { TASK_QUEUE_NAME: name }),
  };
}

/** `chem-chem` of `registry:5000/datagrok/chem-chem:1.0`; undefined for an image's id. */
function imageNameOf(image: string): string | undefined {
  return image.startsWith("sha256:") ? undefined : image.slice(image.lastIndexOf("/") + 1).split(/[:@]/, 1)[0];
}

/** The labels of a service that a foreign server named. */
function foreignLabels(environment: string, name: string): Omit<Labels, "generation"> {
  return { store: `spawner-${environment}`, environment, container: name };
}

/** Independent of the order of the fields. */
function digest(value: object): string {
  return hash("sha256", JSON.stringify(sorted(value)));
}

function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([one], [other]) => (one < other ? -1 : 1))
      .map(([name, of]) => [name, sorted(of)]),
  );
}

const LONGEST_LABEL = 63;
const HASH_LENGTH = 8;

/** A service's name at the orchestrator, as berth's own control gives it. Faults: REQUEST_INVALID. */
export function readServiceName(name: string): string {
  if (isServiceName(name)) return name;
  throw new Fault("REQUEST_INVALID", `${JSON.stringify(name.slice(0, 100))} is not a DNS label, which a service's name must be.`);
}

/**
 * The name of a service that a foreign server names: the environment, then the name. If that is no DNS label, it becomes one, with a hash of the name at
 * the end so that two names stay distinct. The same name always gives the same result.
 */
export function foreignName(environment: string, name: string): string {
  const prefix = `${slug(environment).replace(/^\d[-\d]*/, "") || "berth"}-`;
  const whole = name.startsWith(prefix) ? name : prefix + name;
  if (isServiceName(whole)) return whole;
  const length = LONGEST_LABEL - HASH_LENGTH - 1;
  return `${trimTrailing(slug(whole).slice(0, length), "-")}-${hash("sha256", name).slice(0, HASH_LENGTH)}`;
}

function slug(text: string): string {
  const words = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-/, "");
  return trimTrailing(words, "-");
}

/**
 * Finds services by the names that callers have: berth's own control sends the name at the orchestrator, a foreign server its own (short) name, which is
 * another one here.
 */
export type ServiceNames = {
  /** The service with this name at the orchestrator, else the one that a foreign server calls so. Faults: REQUEST_INVALID. */
  find(name: string, signal: AbortSignal): Promise<Observed | undefined>;
  /** The name at the orchestrator of a service to destroy, which may not exist. A foreign server's own service comes first. Faults: REQUEST_INVALID. */
  ofDestroyed(name: string, signal: AbortSignal): Promise<string>;
};

type NamesDeps = {
  driver: Pick<Driver, "inspect">;
  environment: string;
  /** Whether a deploy of this service runs now. */
  isDeploying(service: string): boolean;
};

export function createServiceNames({ driver, environment, isDeploying }: NamesDeps): ServiceNames {
  const foreign = async (name: string, signal: AbortSignal): Promise<Observed | undefined> => {
    const full = foreignName(environment, name);
    const observed = full === name ? undefined : await driver.inspect(full, { signal });
    const own = foreignLabels(environment, full);
    return observed?.labels.store === own.store && observed.labels.container === own.container ? observed : undefined;
  };
  return {
    find: async (name, signal) => {
      refuseOddName(name);
      return (isServiceName(name) ? await driver.inspect(name, { signal }) : undefined) ?? foreign(name, signal);
    },
    ofDestroyed: async (name, signal) => {
      refuseOddName(name);
      const full = foreignName(environment, name);
      if (!isServiceName(name) || isDeploying(full) || (await foreign(name, signal))) return full;
      return name;
    },
  };
}

/** A foreign server's names of services: packages, folders, images. */
function refuseOddName(name: string): void {
  if (/^[\w@][\w.@/:-]{0,511}$/.test(name) && !/(^|\/)\.\.?(\/|$)/.test(name)) return;
  throw new Fault("REQUEST_INVALID", `${JSON.stringify(name.slice(0, 100))} cannot be a service's name.`);
}
