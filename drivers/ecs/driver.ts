import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { type Call, type Driver, type ImageSource, type Registry, type ResolvedImage, USUAL_PLATFORM } from "../driver.ts";
import { advisedFault } from "../faults.ts";
import { type ImageConfig, type MachinePlatform, placeOf, readImageConfig } from "../image-config.ts";
import { parseReference } from "../image.ts";
import { refuseBadName } from "../labels.ts";
import { openAws } from "./aws.ts";
import { destroy } from "./create-destroy.ts";
import { deploy } from "./deploy.ts";
import { openExec } from "./exec.ts";
import { logs } from "./logs.ts";
import { events, inspect, list } from "./observe.ts";
import { launchTypeOf, parseCapacityShares } from "./launch.ts";
import type { EcsPolling, EcsSite, LaunchType, LogGroup, TaskArchitecture, TaskReach } from "./site.ts";

export type EcsOptions = {
  /** Name or ARN. */
  cluster: string | undefined;
  /** If unset, the region of AWS's own variables and files. */
  region: string | undefined;
  subnets: readonly string[];
  securityGroups: readonly string[];
  /** ARN of the role that tasks are started with: it pulls images and writes logs. */
  execRole: string | undefined;
  /** ARN of the role with which AWS's agent for shells connects from tasks; without one they have no shells. */
  shellRole?: string | undefined;
  /** ARN of the log group of all tasks; without one there are no logs. */
  logGroup: string | undefined;
  /** If unset, EC2 if an instance of the cluster has capacity, else Fargate. */
  launchType: LaunchType | undefined;
  /** Capacity providers instead of a launch type, as `FARGATE_SPOT=3`; if unset or empty, none. */
  capacityProviders?: readonly string[] | undefined;
  /** The processor of tasks; if unset, x86_64 on Fargate, that of the instance on EC2. */
  architecture?: TaskArchitecture | undefined;
  reach: TaskReach;
  registry?: Registry | undefined;
  /** A registry that a package names may be on these hosts, whatever their addresses. */
  registryHosts?: readonly string[];
  polling?: EcsPolling | undefined;
  /** How long AWS may be unreachable before a start fails. */
  maxOutageMs?: number | undefined;
  /** The limit of calls to AWS. */
  rate?: { perSecond: number; burst: number } | undefined;
  /** Of AWS's client, for each call. */
  tries?: number | undefined;
};

const POLLING = { start: { first: 500, longest: 3_000 }, retry: { first: 250, longest: 4_000 }, events: { first: 2_000, longest: 10_000 } };
const MAX_OUTAGE_MS = 60_000;
/** AWS limits the calls of a whole account in a region, so one berth uses only a part. */
const RATE = { perSecond: 15, burst: 60 };

/** An ECS cluster as the orchestrator: a task definition and a service for each container. Sends no request yet. Faults: SETTINGS_INVALID. */
export function ecsDriver(options: EcsOptions & { clock: Clock; log: Log }): Driver {
  const { cluster, subnets, clock, log } = options;
  if (cluster === undefined) throw missing("CLUSTER", "a cluster for containers");
  if (subnets.length === 0) throw missing("SUBNETS", "the subnets of tasks");
  const capacityProviders = parseCapacityShares(options.capacityProviders ?? []);
  const logGroup = options.logGroup === undefined ? undefined : parseLogGroup(options.logGroup);
  if (!logGroup) log.warn({ setting: "GROK_SPAWNER_DATAGROK_ECS__LOG_GROUP" }, "log group unset, containers run without logs");
  const { region, rate = RATE, polling = POLLING, tries } = options;
  const aws = openAws({ cluster, region, logsRegion: logGroup?.region, rate, retry: polling.retry, tries, clock });
  const site: EcsSite = {
    aws,
    clock,
    log,
    subnets,
    securityGroups: options.securityGroups,
    execRole: options.execRole,
    shellRole: options.shellRole,
    logGroup,
    launchType: launchTypeOf(capacityProviders) ?? options.launchType,
    capacityProviders,
    architecture: options.architecture,
    reach: options.reach,
    registry: options.registry,
    registryHosts: options.registryHosts ?? [],
    polling,
    maxOutageMs: options.maxOutageMs ?? MAX_OUTAGE_MS,
    countingBreaker: true,
  };
  return {
    name: "ecs",
    replicas: {},
    // After a task's end, the address of its network interface may be another task's.
    watchedAddresses: true,
    resolve: (image, call) => resolve(site, image, call),
    deploy: async (spec, call) => {
      call.signal.throwIfAborted();
      refuseBadName(spec.service);
      return deploy(site, spec, call);
    },
    destroy: (service, call) => destroy(site, service, call),
    inspect: (service, call) => inspect(site, service, call),
    list: (call) => list(site, call),
    logs: (service, options, call) => logs(site, service, options, call),
    ...(site.shellRole === undefined ? {} : { exec: (service, options, { signal }) => openExec(site, service, options, signal) }),
    events: (call) => events(site, call),
    close: async () => aws.close(),
  };
}

/** `arn:aws:logs:eu-west-1:123456789012:log-group:/ecs/datagrok`, with or without `:*` at its end. */
function parseLogGroup(arn: string): LogGroup {
  const [, region, name] = /^arn:[^:]+:logs:([a-z0-9-]+):\d*:log-group:([\w./#-]+)(?::\*)?$/.exec(arn) ?? [];
  if (region === undefined || name === undefined) {
    throw new Fault(
      "SETTINGS_INVALID",
      `GROK_SPAWNER_DATAGROK_ECS__LOG_GROUP is "${arn}"; it must be the ARN of a log group, arn:aws:logs:<region>:<account>:log-group:<name>.`,
    );
  }
  return { name, region };
}

function missing(name: string, what: string): Fault {
  return new Fault("SETTINGS_INVALID", `The driver "ecs" needs ${what}: set GROK_SPAWNER_CVM_ECS__${name} or GROK_SPAWNER_DATAGROK_ECS__${name}.`);
}

/**
 * The configured registries resolve a name, ECR first. ECS itself pulls an image of another registry, unless that registry reports that it has none. The
 * configuration is read if the registry permits it; otherwise the package names its port.
 */
async function resolve(site: EcsSite, { ref }: ImageSource, { signal }: Call): Promise<ResolvedImage> {
  const named = parseReference(ref);
  if (named.kind === "id") throw advisedFault("IMAGE_NOT_FOUND", `${ref} is the id of an image on one engine, and ECS pulls images by their names`);
  const resolved = await site.registry?.resolve(ref, { signal });
  if (resolved) {
    const { host, repository } = placeOf(resolved.reference);
    const config = await configOf(site, { host, repository, version: resolved.digest, trusted: true }, signal);
    return { id: `${host}/${repository}@${resolved.digest}`, digest: resolved.digest, ...findingsOf(config) };
  }
  if (named.registry === undefined || (site.registry?.fullNames(ref).length ?? 0) > 0) {
    throw advisedFault("IMAGE_NOT_FOUND", `No configured registry has the image ${ref}`);
  }
  const { host, repository } = placeOf(named.name);
  const config = await configOf(site, { host, repository, version: named.tag, trusted: false }, signal);
  const digest = named.digest ?? config?.digest;
  return {
    id: digest === undefined ? `${named.name}:${named.tag}` : `${named.name}@${digest}`,
    ...(digest === undefined ? {} : { digest }),
    ...findingsOf(config),
  };
}

/** Undefined if berth cannot read the registry; ECS may be able to. Faults: IMAGE_NOT_FOUND. */
async function configOf(
  site: EcsSite,
  image: { host: string; repository: string; version: string; trusted: boolean },
  signal: AbortSignal,
): Promise<ImageConfig | undefined> {
  const { clock, registry, registryHosts: listed } = site;
  try {
    return await readImageConfig({
      ...image,
      clock,
      listed,
      machine: taskPlatform(site),
      login: (call) => registry?.login(image.host, call),
      signal,
    });
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Fault) || error.code === "IMAGE_NOT_FOUND") throw error;
    site.log.debug({ image: `${image.host}/${image.repository}`, code: error.code, reason: error.message }, "image ports unreadable");
    return undefined;
  }
}

/** Undefined where tasks take the processor of the instance that they come to. */
function taskPlatform({ architecture, launchType }: EcsSite): MachinePlatform | undefined {
  const processor = architecture ?? (launchType === "fargate" ? "x86_64" : undefined);
  if (processor === undefined) return undefined;
  return { platform: processor === "arm64" ? "linux/arm64" : USUAL_PLATFORM, setting: "BERTH_ECS_ARCHITECTURE" };
}

function findingsOf(config: ImageConfig | undefined): Omit<ResolvedImage, "id" | "digest"> {
  if (config === undefined) return { exposed: [], command: [] };
  const { digest: _, ...findings } = config;
  return findings;
}
