import type { DriverTimes } from "../lib/start-phases.ts";

/**
 * The contract between control and an orchestrator, as plain data in the system's own words.
 *
 * Every call takes an `AbortSignal`, may be repeated (the process may have died between asking and hearing the answer)
 * and fails with a `Fault` whose code says what to do; no foreign error leaves a driver. ENGINE_UNREACHABLE with `retryAfterMs`: the orchestrator did not
 * answer in time, and the call may be repeated. A driver keeps no state of its
 * own: what it knows of a service, it asks the orchestrator. All drivers pass `test/drivers/conformance.ts`.
 */
export const DRIVERS = ["docker", "swarm", "ecs", "kubernetes", "process", "spawner"] as const;
export type DriverName = (typeof DRIVERS)[number];

/** The hosts that an installation tells apart: for plugins' containers, and for the server's own parts. */
export const HOSTS = ["cvm", "datagrok"] as const;
export type Host = (typeof HOSTS)[number];

/** Where a container accepts connections, as reachable from the gateway. IPv6 hosts come without brackets. */
export type Address = { host: string; port: number };

/** What berth writes on everything that it creates, so that after a crash it is adopted rather than lost. */
export type Labels = {
  /** The random id of the store that wished it. */
  store: string;
  /** The installation's name (`GROK_SPAWNER_ENVIRONMENT`), for people who read the engine's own lists. */
  environment: string;
  /** The container entity's id. */
  container: string;
  /** Counts the definitions of one container; a service of an older generation is replaced. */
  generation: number;
};

/** An image as a package names it; `folder` is where its published files lie, for a driver that needs no image. */
export type ImageSource = { ref: string; folder?: string | undefined };

export type ResolvedImage = {
  /** What `Spec.image` takes: immutable, so that a start runs what was validated (a Docker image id, a digest). */
  id: string;
  /** The registry's digest, where the image came from or is known to one. */
  digest?: string | undefined;
  /** Exposed TCP ports; the first is the one that the image's history names first, where that can be told. */
  exposed: number[];
  /** True where `exposed[0]` is a guess: several ports and no history to order them. */
  guessed?: boolean | undefined;
  /** Who was asked tells no ports: `exposed` is empty, whatever the image exposes. */
  portsUnknown?: true;
};

/** One wished container. `service` is its name at the orchestrator: a DNS label of at most 63 characters. */
export type Spec = {
  service: string;
  labels: Labels;
  /** Which host it is for; the driver's own choice where left out. A driver that knows no hosts passes over it. */
  host?: Host | undefined;
  image: string;
  folder?: string | undefined;
  /** The package that it is of: containers of one package may reach each other, where the driver keeps those of others apart. */
  package?: string | undefined;
  env: Record<string, string>;
  /** Cores, may be a fraction. */
  cpu: number;
  memoryMb: number;
  shmMb: number;
  storageGb: number;
  gpu: number;
  /** Undefined: the container exposes no port, and is ready when it has run through `graceMs`. */
  port?: number | undefined;
  graceMs: number;
};

export type Deployment = {
  /** Undefined where the spec has no port. A connect to it was accepted just now. */
  address?: Address | undefined;
  /** As `Observed.instance`. */
  instance?: string | undefined;
  phases: DriverTimes;
};

/** A fact about one service: what the orchestrator says now. */
export type Observed = {
  service: string;
  labels: Labels;
  /** False for one that is paused: its kernel still accepts connections, and nobody answers. */
  running: boolean;
  /** It is frozen, with its memory: it neither runs nor has ended. */
  paused?: true | undefined;
  /** Where it would be reached; present when it runs and the spec had a port. */
  address?: Address | undefined;
  /** Which instance of the service it is: another one has another. Each driver's `events` documents what it takes for that. Undefined where it is unknown. */
  instance?: string | undefined;
  /** Why it ended, when it is known and not running. */
  exit?: { code: number; outOfMemory: boolean } | undefined;
};

/** What has a name at the orchestrator, whoever made it. */
export type ForeignService = {
  /** The orchestrator's own id of it: who takes the name later has another. */
  instance: string;
  /** Undefined where no berth made it. */
  labels: Labels | undefined;
  running: boolean;
  address?: Address | undefined;
  exit?: Observed["exit"];
};

/** Services that another program made and that control has adopted, by the id of the very instance: a name alone proves nothing. */
export type Foreign = {
  /** `port`: where it listens; undefined: the one that it exposes, where it is one alone. Undefined where nothing has this name. */
  find(service: string, port: number | undefined, call: Call): Promise<ForeignService | undefined>;
  /** Resolves once a connection was accepted there; tries until the signal aborts. */
  reached(address: Address, call: Call): Promise<void>;
  /** Stops and removes that instance and no other of its name; one that is gone is success. */
  end(instance: string, call: Call): Promise<void>;
  logs(instance: string, options: { tail: number; follow?: boolean }, call: Call): AsyncIterable<string>;
};

/**
 * A hint to look again. `connected` follows every (re)connect: anything may have been missed, look at all. `disconnected`, from a driver that notices: what ends from
 * shortly before it until the next `connected` may have ended with the orchestrator. With `ended`, that instance (any, where it is not named) has ended or is
 * about to, and its address may be given to another container: sent as early as the orchestrator reports it.
 */
export type DriverEvent =
  | { kind: "connected" }
  | { kind: "disconnected" }
  | { kind: "changed"; service: string; container: string; ended?: { instance?: string | undefined } };

/** What there is for containers, all machines together, whether or not it is in use. */
export type Capacity = { machines: number; cpu: number; memoryMb: number };

export type Call = { signal: AbortSignal };
export type DeployCall = Call & {
  /** Called at least every few seconds while an image is pulled; `done` and `total` are bytes, 0 where unknown. */
  onPull?: (progress: { done: number; total: number }) => void;
  /** Called once the orchestrator has done its part of a deploy, and only the container's boot is waited for. A bound on the orchestrator's work may begin another deploy. */
  onLaunched?: () => void;
  /** Called as soon as it is known which address the orchestrator has given to the service, before it is waited for to answer there. `isNew`: to an instance that this call started. */
  onAddress?: (address: Address, instance: string | undefined, isNew: boolean) => void;
};

export type Driver = {
  readonly name: DriverName;

  /** That `resolve` leaves the image on the engine: it can be had ahead of the start that it is for. */
  readonly pulls?: true;

  /** That its containers may have link-local addresses; without it such an address is refused, whoever tells it. */
  readonly linkLocal?: true;

  /**
   * That the orchestrator may give a container's address to something else without control's doing: an address counts only while `events` arrive, from
   * `connected` to `disconnected`.
   */
  readonly watchedAddresses?: true;

  /**
   * Turns a reference into something immutable: the registries that are set up first, for names without one, then the engine's own image,
   * then the engine's registry; a mutable tag is resolved again at each call. With `pulls`, the image is on the engine afterwards.
   * Faults: IMAGE_NOT_FOUND, IMAGE_REFERENCE_INVALID, PULL_DENIED, REGISTRY_UNREACHABLE, ENGINE_UNREACHABLE, ENGINE_FAILED.
   */
  resolve(image: ImageSource, call: DeployCall): Promise<ResolvedImage>;

  /**
   * Makes the service run as specified and returns when it is ready: a connect to the very address was accepted, or
   * without a port it ran through `graceMs`. A service of the same name and generation that already runs is adopted; so is one that is paused, where
   * image and variables too are those that are asked for, and goes on. One of an older generation, or one that has exited, is replaced. When it fails or is aborted, nothing of it is left running.
   * Faults: those of `resolve`, and SPEC_REFUSED (also for a name that is another store's), NO_CAPACITY, CONTAINER_UNSCHEDULABLE,
   * CONTAINER_OUT_OF_MEMORY and CONTAINER_CRASHED (with its last log lines), CONTAINER_NOT_READY, ADDRESS_REFUSED, ENGINE_ACTION_DENIED. All are in `faults.ts`.
   */
  deploy(spec: Spec, call: DeployCall): Promise<Deployment>;

  /**
   * Freezes the service where it stands, until a `deploy` has it go on; one that is paused already is success. False where it does not run or cannot
   * be frozen. Undefined for an orchestrator without such a thing. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED.
   */
  pause?(service: string, call: Call): Promise<boolean>;

  /** Stops and removes the service, paused or not; one that does not exist is success. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
  destroy(service: string, call: Call): Promise<void>;

  /** What is known of one service; undefined where there is none. */
  inspect(service: string, call: Call): Promise<Observed | undefined>;

  /** Every service with berth's labels, of whichever store. */
  list(call: Call): Promise<Observed[]>;

  /** Standard output and error, oldest first, in pieces of text; `tail` is a number of lines. Empty for an unknown service. */
  logs(service: string, options: { tail: number; follow?: boolean }, call: Call): AsyncIterable<string>;

  /** Undefined, or not there, where the orchestrator has as much as is wished, or does not tell. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
  capacity?(call: Call): Promise<Capacity | undefined>;

  /** Undefined where the orchestrator's other services cannot be adopted. */
  foreign?(call: Call): Promise<Foreign | undefined>;

  /** Never ends by itself: reconnects with back-off until the signal aborts. */
  events(call: Call): AsyncIterable<DriverEvent>;

  close(): Promise<void>;
};

/** The calls that return a result; `logs` and `events` are streams. */
export const DRIVER_VERBS = ["resolve", "deploy", "pause", "destroy", "inspect", "list", "capacity", "foreign"] as const;
export type DriverVerb = (typeof DRIVER_VERBS)[number];

/** Runs around each call of `DRIVER_VERBS`; `next` makes the call. */
export type DriverMiddleware = <T>(verb: DriverVerb, call: Call, next: () => Promise<T>) => Promise<T>;

/** The same driver with `overrides` in place of its own members, and `around` around every call. A verb that neither has stays absent. */
export function wrapDriver(driver: Driver, overrides: Partial<Omit<Driver, "name">>, around?: DriverMiddleware): Driver {
  const wrapped = { ...driver, ...overrides };
  // The name may be known only later.
  Object.defineProperty(wrapped, "name", { get: () => driver.name, enumerable: true });
  if (around === undefined) return wrapped;
  const calls = wrapped as Partial<Record<DriverVerb, (...args: unknown[]) => Promise<unknown>>>;
  for (const verb of DRIVER_VERBS) {
    const method = calls[verb];
    if (method) calls[verb] = (...args) => around(verb, args.at(-1) as Call, () => method(...args));
  }
  return wrapped;
}

/** The image registries that are set up, asked without an engine: the registry's upstream code implements it. */
export type Registry = {
  /**
   * An image's full name and what it points at now: a short name (`datagrok/x:tag`) is looked for in one registry after another, a full one in
   * its own. Undefined where none of them has it, and for a registry that is not set up.
   * Faults: IMAGE_REFERENCE_INVALID, PULL_DENIED, REGISTRY_UNREACHABLE, UPSTREAM_CREDENTIAL_FAILED.
   */
  resolve(ref: string, call: Call): Promise<{ reference: string; digest: string } | undefined>;
  /** What a reference may be in full, the likeliest first; asks nobody. */
  fullNames(ref: string): string[];
  /** What an engine signs in to a registry with, to pull from it. Never logged. */
  login(host: string, call: Call): Promise<{ username: string; password: string } | undefined>;
};
