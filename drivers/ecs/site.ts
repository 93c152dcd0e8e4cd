import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Registry } from "../driver.ts";
import type { Aws } from "./aws.ts";

export const LAUNCH_TYPES = ["fargate", "ec2"] as const;
export type LaunchType = (typeof LAUNCH_TYPES)[number];

export const REACHES = ["address", "name"] as const;
/** How a gateway reaches a task: by the private address of its network interface, or by that address's private DNS name. */
export type TaskReach = (typeof REACHES)[number];

/** Where the log driver writes, and where it is read back. */
export type LogGroup = { name: string; region: string };

/** Milliseconds between looks: `first`, doubling up to `longest`. */
export type PollDelays = { first: number; longest: number };

/** At a start; between two tries of what only needs time; at everything, for events. */
export type EveryLook = { start: PollDelays; retry: PollDelays; events: PollDelays };

/** All that the parts of this driver share. */
export type EcsSite = {
  aws: Aws;
  clock: Clock;
  log: Log;
  subnets: readonly string[];
  securityGroups: readonly string[];
  execRole: string | undefined;
  logGroup: LogGroup | undefined;
  launchType: LaunchType | undefined;
  reach: TaskReach;
  registry: Registry | undefined;
  /** Hosts at which a registry that a package names may be, whatever their addresses. */
  registryHosts: readonly string[];
  looks: EveryLook;
  /** A start goes on, looked at or not, so looks that fail for less than this do not end it. */
  blindMs: number;
  /** False once the API refused a circuit breaker that counts. */
  countingBreaker: boolean;
};
