import type { Container, Service, Task } from "@aws-sdk/client-ecs";
import type { Address, Observed } from "../driver.ts";
import { containerName } from "./definition.ts";
import type { Reach } from "./site.ts";
import { readTags } from "./labels.ts";

/** The contract's words for a service and its tasks, the newest first; undefined for a service that is not ours. */
export function observe(service: Service, tasks: readonly Task[], reach: Reach): Observed | undefined {
  const tagged = readTags(service.tags);
  if (!tagged) return undefined;
  const { labels, port } = tagged;
  const name = service.serviceName ?? "";
  const task = tasks.find(runs);
  if (task) {
    const address = port === undefined ? undefined : addressOf(task, port, reach);
    return { service: name, labels, running: true, instance: taskId(task), ...(address ? { address } : {}) };
  }
  const ended = tasks.find((one) => isEnding(one) && mainContainer(one, name)?.exitCode !== undefined);
  const exit = ended && exitOf(mainContainer(ended, name));
  return { service: name, labels, running: false, ...(exit ? { exit } : {}) };
}

/** A task that ECS wants stopped may still be running for a while, but nobody shall be sent there. */
export function runs({ lastStatus, desiredStatus }: Task): boolean {
  return lastStatus === "RUNNING" && desiredStatus === "RUNNING";
}

/** Stopped, or on its way there for a reason that is known: on Fargate, taking its network away takes half a minute more. */
export function isEnding({ lastStatus, desiredStatus, stoppedReason, stopCode }: Task): boolean {
  return lastStatus === "STOPPED" || (desiredStatus === "STOPPED" && (stoppedReason !== undefined || stopCode !== undefined));
}

/** The one that is ours: AWS may put others beside it, to watch over it. */
export function mainContainer(task: Task, service: string): Container | undefined {
  return task.containers?.find(({ name }) => name === containerName({ service })) ?? task.containers?.[0];
}

export function taskId(task: Task): string {
  return task.taskArn?.split("/").at(-1) ?? "";
}

/** From the task's own network interface: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Attachment.html */
export function addressOf(task: Task, port: number, reach: Reach): Address | undefined {
  const details = task.attachments?.find(({ type }) => type === "ElasticNetworkInterface")?.details;
  const detail = (name: string) => details?.find((one) => one.name === name)?.value;
  const own = task.containers?.[0]?.networkInterfaces?.[0];
  const ip = detail("privateIPv4Address") ?? own?.privateIpv4Address ?? own?.ipv6Address;
  // Only where the VPC gives names out.
  const host = reach === "name" ? (detail("privateDnsName") ?? ip) : ip;
  return host === undefined || host === "" ? undefined : { host, port };
}

function exitOf(container: Container | undefined): Observed["exit"] {
  if (container?.exitCode === undefined) return undefined;
  return { code: container.exitCode, outOfMemory: /OutOfMemory/.test(container.reason ?? "") };
}
