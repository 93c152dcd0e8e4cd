import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Driver, Registry } from "../driver.ts";
import { openAws } from "./aws.ts";
import { deploy } from "./deploy.ts";
import { destroy } from "./destroy.ts";
import { events } from "./events.ts";
import { inspect, list } from "./observe.ts";
import { logs } from "./logs.ts";
import { refuseBadName } from "../labels.ts";
import { resolve } from "./resolve.ts";
import type { EveryLook, LaunchType, LogGroup, TaskReach, EcsSite } from "./site.ts";

export type EcsOptions = {
  /** Name or ARN. */
  cluster: string | undefined;
  /** Where unset, as AWS's own variables and files say. */
  region: string | undefined;
  subnets: readonly string[];
  securityGroups: readonly string[];
  /** ARN of the role that tasks are started with: it pulls images and writes logs. */
  execRole: string | undefined;
  /** ARN of the log group of all tasks; without one there are no logs. */
  logGroup: string | undefined;
  /** Where unset, EC2 if the cluster's instances have room, else Fargate. */
  launchType: LaunchType | undefined;
  reach: TaskReach;
  registry?: Registry | undefined;
  /** Hosts at which a registry that a package names may be, whatever their addresses. */
  registryHosts?: readonly string[];
  looks?: EveryLook | undefined;
  /** For so long AWS may be away before a start that it is asked about is given up. */
  blindMs?: number | undefined;
  /** How many calls to AWS there are at most. */
  rate?: { perSecond: number; burst: number } | undefined;
};

const LOOKS = { start: { first: 500, longest: 3_000 }, retry: { first: 250, longest: 4_000 }, events: { first: 2_000, longest: 10_000 } };
const BLIND_MS = 60_000;
/** AWS counts the calls of a whole account in a region, so one berth leaves room for others. */
const RATE = { perSecond: 15, burst: 60 };

/** An ECS cluster as the orchestrator: a task definition and a service for each container. Asks AWS nothing yet. Faults: SETTINGS_INVALID. */
export function ecsDriver(options: EcsOptions & { clock: Clock; log: Log }): Driver {
  const { cluster, subnets, clock, log } = options;
  if (cluster === undefined) throw missing("CLUSTER", "the cluster to run containers in");
  if (subnets.length === 0) throw missing("SUBNETS", "the subnets that tasks get their addresses in");
  const logGroup = options.logGroup === undefined ? undefined : readLogGroup(options.logGroup);
  if (!logGroup) log.warn({}, "GROK_SPAWNER_DATAGROK_ECS__LOG_GROUP is not set: containers run without logs.");
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
    looks: options.looks ?? LOOKS,
    blindMs: options.blindMs ?? BLIND_MS,
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
    logs: (service, which, call) => logs(site, service, which, call),
    events: (call) => events(site, call),
    close: async () => aws.close(),
  };
}

/** `arn:aws:logs:eu-west-1:123456789012:log-group:/ecs/datagrok`, with or without `:*` at its end. */
function readLogGroup(arn: string): LogGroup {
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
