import type { DriverTimes } from "../lib/start-phases.ts";

/**
 * The contract between control and an orchestrator, as plain data.
 *
 * Every call takes an `AbortSignal`. Every call may be repeated, because a process may die between a request and its response. Every failure is a `Fault`
 * whose code says what to do; no foreign error leaves a driver. ENGINE_UNREACHABLE with `retryAfterMs` means: the orchestrator did not answer in time, and
 * the call may be repeated. A driver has no state: it reads the state of a service from the orchestrator. All drivers pass `test/drivers/conformance.ts`.
 */
export const DRIVERS = ["docker", "swarm", "ecs", "kubernetes", "process", "spawner"] as const;
export type DriverName = (typeof DRIVERS)[number];

/** The hosts of an installation: `cvm` for plugins' containers, `datagrok` for the server's own parts. */
export const HOSTS = ["cvm", "datagrok"] as const;
export type Host = (typeof HOSTS)[number];

/** What most machines run, and images are built for. */
export const USUAL_PLATFORM = "linux/amd64";

/** Where the gateway reaches a container. IPv6 hosts have no brackets. */
export type Address = { host: string; port: number };

/** berth labels everything that it creates, so that it can adopt it after a crash. */
export type Labels = {
  /** The random id of the store that has the container. */
  store: string;
  /** The installation's name (`GROK_SPAWNER_ENVIRONMENT`), for users who read the orchestrator's own lists. */
  environment: string;
  /** The container entity's id. */
  container: string;
  /** Counts the definitions of one container; a service of an older generation is replaced. */
  generation: number;
  /** Of the leader that started it, if there are several control processes. It is no part of the definition. */
  epoch?: number | undefined;
};

/** An image as a package names it. `folder` has its published files, for a driver that needs no image. */
export type ImageSource = { ref: string; folder?: string | undefined };

export type ResolvedImage = {
  /** The value for `Spec.image`: immutable (a Docker image id, a digest), so that a start runs what was validated. */
  id: string;
  /** The registry's digest, if a registry has the image. */
  digest?: string | undefined;
  /** Exposed TCP ports. The first is the one that the image's history names first. */
  exposed: number[];
  /** `exposed[0]` is a guess: the image has several ports and no history that orders them. */
  guessed?: boolean | undefined;
  /** The ports could not be read, so `exposed` is empty. */
  portsUnknown?: true;
  /** What the image runs: its entrypoint and its command. Empty if unknown. */
  command: string[];
  /** The image's own `HEALTHCHECK`. Undefined if it has none, or if that is unknown. */
  healthcheck?: ImageHealthcheck | undefined;
} & ImageMeasures;

/** What an image's manifest and configuration say of it; what is unknown is left out. */
export type ImageMeasures = {
  /** In a registry the compressed size of its layers; at an engine the size on its disk. */
  sizeBytes?: number | undefined;
  /** When it was built, in epoch ms. */
  createdOn?: number | undefined;
  /** For what it is built, such as `linux/amd64`, and what would run it, if that is known. */
  platform?: { image: string; machine?: string | undefined } | undefined;
};

/** As in the image's configuration: `test` is `CMD` and words, or `CMD-SHELL` and a line for the shell. A missing time is the engine's default. */
export type ImageHealthcheck = { test: string[]; intervalMs?: number; timeoutMs?: number; startPeriodMs?: number; retries?: number };

/** What a container must show before it counts as started. */
export type Readiness =
  /** Its address accepts a TCP connection. */
  | { kind: "port" }
  /** A GET of `path` is answered with 2xx or 3xx within `timeoutMs`. `port`: another one than `Spec.port`. berth asks at least every second while it starts. */
  | { kind: "http"; path: string; port?: number | undefined; intervalMs: number; timeoutMs: number }
  /**
   * The orchestrator runs the image's own `HEALTHCHECK` and reports success, and the address accepts a connection, unless it is a queue worker's
   * (`portStaysClosed`). Only for a driver with `healthchecks`.
   */
  | { kind: "healthcheck"; portStaysClosed?: true }
  /** It has run for `graceMs`: a queue worker, although its declared port refuses connections, or a container without a port. */
  | { kind: "running" };

/** How long a container has between SIGTERM and SIGKILL, in seconds, and at most: the limit of ECS. */
export const STOP_GRACE_SECONDS = 10;
export const MOST_STOP_GRACE_SECONDS = 120;

/** The least share of a core that an engine takes: the kernel gives turns of a millisecond in a hundred. 0 means no limit. */
const LEAST_ENGINE_CPU = 0.01;

/** The limit of an engine in billionths of a core. */
export function nanoCpus({ cpu }: Pick<Spec, "cpu">): number {
  return Math.round(Math.max(cpu, LEAST_ENGINE_CPU) * 1e9);
}

/** The desired state of one container. `service` is its name at the orchestrator: a DNS label of at most 63 characters. */
export type Spec = {
  service: string;
  labels: Labels;
  /** The host that it runs on; the driver's own choice if undefined. A driver without hosts ignores it. */
  host?: Host | undefined;
  image: string;
  folder?: string | undefined;
  /** Its package. Containers of one package may reach each other; a driver may isolate them from those of other packages. */
  package?: string | undefined;
  /** The container's own name, by which those of its package find it too. A driver ignores it where other packages' containers would see it. */
  alias?: string | undefined;
  env: Record<string, string>;
  /** Cores, may be a fraction. */
  cpu: number;
  memoryMb: number;
  shmMb: number;
  storageGb: number;
  gpu: number;
  /** Undefined: the container exposes no port. Its readiness is then `running`. */
  port?: number | undefined;
  readiness: Readiness;
  graceMs: number;
  /** How long it has between SIGTERM and SIGKILL: from 1 to `MOST_STOP_GRACE_SECONDS`. Undefined: `STOP_GRACE_SECONDS`. */
  shutdownGraceSeconds?: number | undefined;
};

export type Deployment = {
  /** Empty if the spec has no port. Each has just accepted a connection. */
  addresses: Address[];
  /** As `Observed.instance`. */
  instance?: string | undefined;
  phases: DriverTimes;
  /** A sentence for the package's author: it counts as started, but not as its readiness demands, or it runs without its GPU. */
  warning?: string | undefined;
};

/**
 * What a container has used since its start, or with `windowMs` within the last milliseconds only. `networkBytes` is 0 if only the CPU is known. `memoryBytes`: what
 * it has in use now, without caches of files that the kernel can free; undefined if that is unknown.
 */
export type Usage = { cpuMs: number; networkBytes: number; windowMs?: number | undefined; memoryBytes?: number | undefined };

export type LogOptions = {
  /** A number of lines. */
  tail: number;
  follow?: boolean | undefined;
  /** Each line begins with its time and a space: `2026-11-30T03:20:01.123Z text`. Lines whose time the orchestrator does not know have none. */
  timestamps?: boolean | undefined;
};

export type TerminalSize = { columns: number; rows: number };

/** A command to run in a container, as a program and its arguments. `terminal`: with a terminal of this size; undefined: with pipes. */
export type ExecOptions = { command: readonly string[]; terminal: TerminalSize | undefined };

/** A command that runs in a container. It has no time limit: its opener closes it. */
export type ExecSession = {
  /** What it writes, in order; a terminal has standard output alone. To be read once. Ends with the command. While it is not read, the command waits. */
  output: AsyncIterable<{ stream: "stdout" | "stderr"; bytes: Uint8Array }>;
  /** Resolves when more may be written: until then the command has not read what came before. */
  write(bytes: Uint8Array): Promise<void>;
  /** The end of its standard input. A terminal has none: there Ctrl-D is typed. */
  endInput(): void;
  resize(size: TerminalSize): Promise<void>;
  /** After the end of `output`. Undefined if the orchestrator does not know it. */
  exitCode(): Promise<number | undefined>;
  /** Ends the command if it still runs, where the orchestrator or the container has a way to do so, and releases the connection. */
  close(): Promise<void>;
};

/** Where a service's processes accept TCP connections. */
export type Listeners = {
  /** As they are bound, such as host `127.0.0.1`, `0.0.0.0` or `::`; each once. */
  sockets: Address[];
  /** Where it must listen, if that is not the port of its spec but the value of its variable PORT. */
  portVariable?: number | undefined;
};

/** The observed state of one service: what the orchestrator reports now. */
export type Observed = {
  service: string;
  labels: Labels;
  /** False if it is paused: the kernel still accepts connections, but the container does not answer. */
  running: boolean;
  /** It is frozen, with its memory: it neither runs nor has ended. */
  paused?: true | undefined;
  /** Empty if it does not run or its spec has no port. Of several replicas, those that accept connections. */
  addresses: Address[];
  /** The id of this instance of the service. Each driver's `events` documents what it uses. Undefined if unknown. */
  instance?: string | undefined;
  /** Why it ended, if that is known. */
  exit?: { code: number; outOfMemory: boolean } | undefined;
};

/** Anything that has this name at the orchestrator, created by berth or not. */
export type ForeignService = {
  /** The orchestrator's own id. A later holder of the name has another id. */
  instance: string;
  /** Undefined if no berth created it. */
  labels: Labels | undefined;
  running: boolean;
  addresses: Address[];
  exit?: Observed["exit"];
};

/** Services that another program created and that control has adopted, by the id of the instance: a name alone proves nothing. */
export type Foreign = {
  /** `port`: where it listens; if undefined, the only port that it exposes. Returns undefined if nothing has this name. */
  find(service: string, port: number | undefined, call: Call): Promise<ForeignService | undefined>;
  /** Resolves when a connection is accepted there; tries until the signal aborts. */
  reached(address: Address, call: Call): Promise<void>;
  /** Stops and removes that instance and no other of its name. Succeeds if it does not exist. */
  end(instance: string, call: Call): Promise<void>;
  logs(instance: string, options: LogOptions, call: Call): AsyncIterable<string>;
};

/**
 * A hint to inspect again. `connected` follows every (re)connect: events may have been missed, so control lists all services. `disconnected`, from a driver
 * that notices: an end between shortly before it and the next `connected` may be an end of the orchestrator. With `ended`, that instance (any instance
 * if unnamed) has ended or is about to, and its address may be given to another container: sent as early as the orchestrator reports it. `watchedAddresses`: as the
 * driver's, of an orchestrator that only its peer knows.
 */
export type DriverEvent =
  | { kind: "connected"; watchedAddresses?: true }
  | { kind: "disconnected" }
  | { kind: "changed"; service: string; container: string; ended?: { instance?: string | undefined } };

/** The size of all machines together, free or in use. */
export type Capacity = { machines: number; cpu: number; memoryMb: number };

export type Call = { signal: AbortSignal };

/**
 * The reason of an abort because control ends. A deploy then leaves what it has created or adopted: the next control process adopts it, and goes on. Any other
 * abort of a deploy removes it.
 */
export class ControlEnds extends Error {}

export function leavesRunning({ signal }: Call): boolean {
  return signal.aborted && signal.reason instanceof ControlEnds;
}

/** `owner`: the service's labels must name this store and this container. */
export type OwnedCall = Call & { owner?: Pick<Labels, "store" | "container"> | undefined };

export type DeployCall = Call & {
  /** Called at least every few seconds while an image is pulled; `done` and `total` are bytes, 0 if unknown. */
  onPull?: (progress: { done: number; total: number }) => void;
  /** Called when the orchestrator has done its part and only the container's boot remains. A limit on the orchestrator's work may then begin another deploy. */
  onLaunched?: () => void;
  /** Called with the status of a response to berth's health request that is neither 2xx nor 3xx: it listens, and its check fails. */
  onHealthStatus?: ((status: number) => void) | undefined;
  /** Called after each look-up of the service's name, where it is reached by a name; `code` if it failed, such as ENOTFOUND. */
  onLookup?: ((host: string, code: string | undefined) => void) | undefined;
  /** Called with all of the service's addresses as soon as they are known, before it answers there. `isNew`: this call started the instance. */
  onAddresses?: (addresses: Address[], instance: string | undefined, isNew: boolean) => void;
};

export type Driver = {
  readonly name: DriverName;

  /** `resolve` leaves the image on the engine, so that control can prefetch it. */
  readonly pulls?: true;

  /** Its containers may have link-local addresses. Without it, such an address is refused. */
  readonly linkLocal?: true;

  /** The orchestrator may give a container's address away without control. An address is valid only from `connected` to `disconnected`. */
  readonly watchedAddresses?: true;

  /**
   * Several services of one specification run beside each other, each at addresses of its own, and are stopped one by one: a container may have replicas.
   * `mostInPackage`: so many of all containers of a package together, whose network has no more addresses.
   */
  readonly replicas?: { mostInPackage?: number | undefined } | undefined;

  /** It runs an image's own `HEALTHCHECK` and reports the result: `Readiness` of kind `healthcheck`. */
  readonly healthchecks?: true | undefined;

  /**
   * Turns a reference into an immutable id. A name without a registry is looked up in the configured registries, then in the engine's own images, then
   * in the engine's registry. A mutable tag is resolved again at each call. With `pulls`, the image is on the engine afterwards.
   * Faults: IMAGE_NOT_FOUND, IMAGE_REFERENCE_INVALID, PULL_DENIED, REGISTRY_UNREACHABLE, ENGINE_UNREACHABLE, ENGINE_FAILED.
   */
  resolve(image: ImageSource, call: DeployCall): Promise<ResolvedImage>;

  /**
   * Makes the service run as specified and returns when it is ready, by its `readiness`.
   * Adopts a running service of the same name and generation. Adopts and unpauses a paused one, if its image and variables are the same too. Replaces one
   * of another generation, or one that has exited. After a failure or an abort nothing is left running.
   * Faults: those of `resolve`, and SPEC_REFUSED (also for a name of another store), NO_CAPACITY, CONTAINER_UNSCHEDULABLE,
   * CONTAINER_OUT_OF_MEMORY and CONTAINER_CRASHED (with its log tail), CONTAINER_NOT_READY, ADDRESS_REFUSED, ENGINE_ACTION_DENIED. All are in `faults.ts`.
   */
  deploy(spec: Spec, call: DeployCall): Promise<Deployment>;

  /**
   * Freezes the service until a `deploy` unpauses it. Succeeds if it is already paused. False if it does not run or cannot be frozen. Undefined for an
   * orchestrator that cannot pause. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED.
   */
  pause?(service: string, call: Call): Promise<boolean>;

  /**
   * Stops and removes the service, paused or not: it ends within the grace time of its spec, or is killed then. Succeeds if it does not exist.
   * Faults: ENGINE_UNREACHABLE, ENGINE_FAILED, SPEC_REFUSED if the service is not the `owner`'s, which is then left as it is.
   */
  destroy(service: string, call: OwnedCall): Promise<void>;

  /** Undefined if the service does not exist. */
  inspect(service: string, call: Call): Promise<Observed | undefined>;

  /** Every service with berth's labels, of any store. */
  list(call: Call): Promise<Observed[]>;

  /** Standard output and error, oldest first, in pieces of text. Empty for an unknown service, and for one that is not the `owner`'s. */
  logs(service: string, options: LogOptions, call: OwnedCall): AsyncIterable<string>;

  /** Undefined or absent if the orchestrator has no limit or does not report it. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
  capacity?(call: Call): Promise<Capacity | undefined>;

  /** Undefined if the service does not run, or the orchestrator does not report it. Absent if it never does. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
  usage?(service: string, call: Call): Promise<Usage | undefined>;

  /** Undefined if the service does not run, or it cannot be read. Absent if it never can. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
  listeners?(service: string, call: Call): Promise<Listeners | undefined>;

  /**
   * Runs a command in the service's container, as the user of its image. The signal ends the call, and not what it has opened. Undefined if the service does
   * not run. Absent if the orchestrator has no such call, or berth does not use it: `exec.ts` says why. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED,
   * ENGINE_ACTION_DENIED, EXEC_UNAVAILABLE.
   */
  exec?(service: string, options: ExecOptions, call: Call): Promise<ExecSession | undefined>;

  /** Undefined if the orchestrator's other services cannot be adopted. */
  foreign?(call: Call): Promise<Foreign | undefined>;

  /** Reconnects with back-off until the signal aborts. */
  events(call: Call): AsyncIterable<DriverEvent>;

  close(): Promise<void>;
};

/** The calls that return a result; `logs` and `events` are streams. */
export const DRIVER_VERBS = [
  "resolve",
  "deploy",
  "pause",
  "destroy",
  "inspect",
  "list",
  "capacity",
  "usage",
  "listeners",
  "exec",
  "foreign",
] as const;
export type DriverVerb = (typeof DRIVER_VERBS)[number];

/** Runs around each call of `DRIVER_VERBS`; `next` makes the call. */
type DriverMiddleware = <T>(verb: DriverVerb, call: Call, next: () => Promise<T>) => Promise<T>;

/** The driver with `overrides` instead of its own members, and `around` around every call. A verb that neither has stays absent. */
export function wrapDriver(
  driver: Driver,
  overrides: Partial<Omit<Driver, "name" | "healthchecks" | "replicas">>,
  around?: DriverMiddleware,
): Driver {
  const wrapped = { ...driver, ...overrides };
  // Of a driver that is still to be chosen, these are known only later.
  for (const name of ["name", "healthchecks", "replicas"] as const)
    Object.defineProperty(wrapped, name, { get: () => driver[name], enumerable: true });
  if (around === undefined) return wrapped;
  const calls = wrapped as Partial<Record<DriverVerb, (...args: unknown[]) => Promise<unknown>>>;
  for (const verb of DRIVER_VERBS) {
    const method = calls[verb];
    if (method) calls[verb] = (...args) => around(verb, args.at(-1) as Call, () => method(...args));
  }
  return wrapped;
}

/** The configured image registries. The registry's upstream code implements it, without an engine. */
export type Registry = {
  /**
   * An image's full name and its current digest. A short name (`datagrok/x:tag`) is looked up in one registry after another, a full name in its own.
   * Undefined if none has it, and for a registry that is not configured.
   * Faults: IMAGE_REFERENCE_INVALID, PULL_DENIED, REGISTRY_UNREACHABLE, UPSTREAM_CREDENTIAL_FAILED.
   */
  resolve(ref: string, call: Call): Promise<{ reference: string; digest: string } | undefined>;
  /** The possible full names of a reference, the likeliest first. Sends no request. */
  fullNames(ref: string): string[];
  /** The login with which an engine pulls from a registry. Never logged. */
  login(host: string, call: Call): Promise<{ username: string; password: string } | undefined>;
};

/** The exit code of SIGKILL, with which a kernel also ends a process that uses too much memory. */
const KILLED = 137;

/** Behind the exit code of a container that SIGKILL ended. */
export function killHint(code: number | undefined, outOfMemory: boolean | undefined): string {
  if (code !== KILLED) return "";
  return outOfMemory === undefined ? " (killed, perhaps for its memory)" : " (killed by something other than berth)";
}
