import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Registry } from "../driver.ts";
import type { Aws } from "./aws.ts";

export const LAUNCH_TYPES = ["fargate", "ec2"] as const;
export type LaunchType = (typeof LAUNCH_TYPES)[number];

export const ARCHITECTURES = ["x86_64", "arm64"] as const;
/** The processor of the tasks' machines, as ECS names it. */
export type TaskArchitecture = (typeof ARCHITECTURES)[number];

/** A capacity provider, and its share of the tasks. */
export type CapacityShare = { name: string; weight: number };

export const REACHES = ["address", "name"] as const;
/** How a gateway reaches a task: by the private address of its network interface, or by the private DNS name of that address. */
export type TaskReach = (typeof REACHES)[number];

/** The log driver writes to it, and berth reads from it. */
export type LogGroup = { name: string; region: string };

/** Milliseconds between polls: `first`, doubling up to `longest`. */
type PollDelays = { first: number; longest: number };

/** During a start; between retries; for events. */
export type EcsPolling = { start: PollDelays; retry: PollDelays; events: PollDelays };

/** The options and clients of the driver. */
export type EcsSite = {
  aws: Aws;
  clock: Clock;
  log: Log;
  subnets: readonly string[];
  securityGroups: readonly string[];
  execRole: string | undefined;
  /** Role of the tasks' containers, with which AWS's agent for shells connects. Undefined: tasks have no shells, and no role. */
  shellRole: string | undefined;
  logGroup: LogGroup | undefined;
  launchType: LaunchType | undefined;
  /** Services use these instead of a launch type; `launchType` is then the kind of their machines. Empty: none. */
  capacityProviders: readonly CapacityShare[];
  /** Undefined: x86_64 on Fargate, that of the instance on EC2. */
  architecture: TaskArchitecture | undefined;
  reach: TaskReach;
  registry: Registry | undefined;
  /** A registry that a package names may be on these hosts, whatever their addresses. */
  registryHosts: readonly string[];
  polling: EcsPolling;
  /** A start continues without berth, so failed polls for less than this do not end it. */
  maxOutageMs: number;
  /** False after the API has refused a circuit breaker with a threshold. */
  countingBreaker: boolean;
};
