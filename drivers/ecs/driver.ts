import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Driver, Registry } from "../driver.ts";
import { refuseBadName } from "../labels.ts";
import { openAws } from "./aws.ts";
import { deploy } from "./deploy.ts";
import { destroy } from "./destroy.ts";
import { events } from "./events.ts";
import { logs } from "./logs.ts";
import { inspect, list } from "./observe.ts";
import { resolve } from "./resolve.ts";
import type { EcsPolling, LaunchType, LogGroup, TaskReach, EcsSite } from "./site.ts";

export type EcsOptions = {
  /** Name or ARN. */
  cluster: string | undefined;
  /** If unset, the region of AWS's own variables and files. */
  region: string | undefined;
  subnets: readonly string[];
  securityGroups: readonly string[];
  /** ARN of the role that tasks are started with: it pulls images and writes logs. */
  execRole: string | undefined;
  /** ARN of the log group of all tasks; without one there are no logs. */
  logGroup: string | undefined;
  /** If unset, EC2 if an instance of the cluster has capacity, else Fargate. */
  launchType: LaunchType | undefined;
  reach: TaskReach;
  registry?: Registry | undefined;
  /** A registry that a package names may be on these hosts, whatever their addresses. */
  registryHosts?: readonly string[];
  polling?: EcsPolling | undefined;
  /** How long AWS may be unreachable before a start fails. */
  maxOutageMs?: number | undefined;
  /** The limit of calls to AWS. */
  rate?: { perSecond: number; burst: number } | undefined;
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
  const logGroup = options.logGroup === undefined ? undefined : parseLogGroup(options.logGroup);
  if (!logGroup) log.warn({ setting: "GROK_SPAWNER_DATAGROK_ECS__LOG_GROUP" }, "log group unset, containers run without logs");
  const aws = openAws({ cluster, region: options.region, logsRegion: logGroup?.region, rate: options.rate ?? RATE, clock });
  const site: EcsSite = {
    aws,
    clock,
    log,
    subnets,
    securityGroups: options.securityGroups,
    execRole: options.execRole,
    logGroup,
    launchType: options.launchType,
    reach: options.reach,
    registry: options.registry,
    registryHosts: options.registryHosts ?? [],
    polling: options.polling ?? POLLING,
    maxOutageMs: options.maxOutageMs ?? MAX_OUTAGE_MS,
    countingBreaker: true,
  };
  return {
    name: "ecs",
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
