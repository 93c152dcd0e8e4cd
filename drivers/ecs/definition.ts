import { createHash } from "node:crypto";
import type { ContainerDefinition, CreateServiceCommandInput, RegisterTaskDefinitionCommandInput, Tag } from "@aws-sdk/client-ecs";
import { type Labels, type Spec, STOP_GRACE_SECONDS } from "../driver.ts";
import { advisedFault } from "../faults.ts";
import { parseLabels, readPort, writeLabels } from "../labels.ts";
import { cpuUnits, type TaskLaunch } from "./launch.ts";
import type { LogGroup, EcsSite } from "./site.ts";

/** Log streams are `<prefix>/<container>/<task id>`. Policies of existing installations allow to read no other. */
const LOG_PREFIX = "grok_spawner";
/** The default and the maximum of Fargate's tasks. */
const STORAGE_GB = { free: 20, most: 200 };
/** The default of a container, and the default of container.json. */
const USUAL_SHM_MB = 64;
const USUAL_STORAGE_GB = 21;

const CPU = { x86_64: "X86_64", arm64: "ARM64" } as const;

/** A container's name within its task and its log stream. */
export function containerName({ service }: Pick<Spec, "service">): string {
  return service;
}

export function logStream(service: string, taskId: string): string {
  return `${LOG_PREFIX}/${containerName({ service })}/${taskId}`;
}

/** One task of one container. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html. Faults: SPEC_REFUSED. */
export function taskDefinition(
  spec: Spec,
  launch: TaskLaunch,
  site: Pick<EcsSite, "execRole" | "shellRole" | "logGroup" | "architecture">,
): RegisterTaskDefinitionCommandInput {
  const onEc2 = launch.type === "EC2";
  if (!onEc2 && spec.storageGb > STORAGE_GB.most) {
    const sentence = `${spec.service} requests ${spec.storageGb} GB of storage; Fargate has ${STORAGE_GB.most} GB at most`;
    throw advisedFault("SPEC_REFUSED", sentence, { todo: "Request less `storage` in container.json." });
  }
  const container: ContainerDefinition = {
    name: containerName(spec),
    image: spec.image,
    essential: true,
    cpu: cpuUnits(spec),
    // A hard limit, as on every other orchestrator, also in a larger task.
    memory: Math.ceil(spec.memoryMb),
    environment: Object.entries(spec.env).map(([name, value]) => ({ name, value })),
    stopTimeout: spec.shutdownGraceSeconds ?? STOP_GRACE_SECONDS,
    ...(spec.port === undefined ? {} : { portMappings: [{ containerPort: spec.port, protocol: "tcp" }] }),
    ...(onEc2 || site.shellRole !== undefined
      ? {
          linuxParameters: {
            ...(onEc2 ? { sharedMemorySize: Math.ceil(spec.shmMb) } : {}),
            // It reaps what the agent for shells leaves.
            ...(site.shellRole === undefined ? {} : { initProcessEnabled: true }),
          },
        }
      : {}),
    ...(spec.gpu > 0 ? { resourceRequirements: [{ type: "GPU", value: String(spec.gpu) }] } : {}),
    ...(site.logGroup ? { logConfiguration: logConfiguration(site.logGroup) } : {}),
  };
  return {
    family: spec.service,
    networkMode: "awsvpc",
    requiresCompatibilities: [launch.type],
    containerDefinitions: [container],
    ...(site.architecture === undefined
      ? {}
      : { runtimePlatform: { cpuArchitecture: CPU[site.architecture], operatingSystemFamily: "LINUX" as const } }),
    ...(site.execRole === undefined ? {} : { executionRoleArn: site.execRole }),
    ...(site.shellRole === undefined ? {} : { taskRoleArn: site.shellRole }),
    ...(launch.type === "EC2" ? {} : { cpu: String(launch.size.cpu), memory: String(launch.size.memoryMb) }),
    ...(!onEc2 && spec.storageGb > STORAGE_GB.free ? { ephemeralStorage: { sizeInGiB: Math.ceil(spec.storageGb) } } : {}),
    tags: writeTags(spec.labels, spec.port),
  };
}

/** The settings that the container runs without. */
export function ignoredSettings({ shmMb, storageGb }: Pick<Spec, "shmMb" | "storageGb">, launch: TaskLaunch): string[] {
  if (launch.type === "EC2")
    return storageGb > USUAL_STORAGE_GB ? [`storage (${storageGb} GB): on EC2 a container has what its instance's disk has`] : [];
  return shmMb > USUAL_SHM_MB ? [`shm (${shmMb} MB): on Fargate a container has ${USUAL_SHM_MB} MB`] : [];
}

/** A service of one task. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html */
export function service(spec: Spec, launch: TaskLaunch, definitionArn: string, site: EcsSite): CreateServiceCommandInput {
  return {
    serviceName: spec.service,
    taskDefinition: definitionArn,
    desiredCount: 1,
    schedulingStrategy: "REPLICA",
    // ECS takes either of them.
    ...(site.capacityProviders.length === 0
      ? { launchType: launch.type }
      : { capacityProviderStrategy: site.capacityProviders.map(({ name, weight }) => ({ capacityProvider: name, weight })) }),
    // For this definition only: AWS refuses the same token in another request.
    clientToken: createHash("sha256").update(`${site.aws.cluster}\0${definitionArn}\0${site.countingBreaker}`).digest("hex").slice(0, 36),
    networkConfiguration: {
      awsvpcConfiguration: { subnets: [...site.subnets], securityGroups: [...site.securityGroups], assignPublicIp: "DISABLED" },
    },
    deploymentConfiguration: {
      // Never two at once: a plugin may need exclusive access.
      maximumPercent: 100,
      minimumHealthyPercent: 0,
      deploymentCircuitBreaker: {
        enable: true,
        rollback: true,
        // Otherwise three tasks must fail before ECS gives up.
        ...(site.countingBreaker ? { thresholdConfiguration: { type: "COUNT" as const, value: 1 } } : {}),
      },
    },
    ...(site.shellRole === undefined ? {} : { enableExecuteCommand: true }),
    // It would run a second task beside the first.
    availabilityZoneRebalancing: "DISABLED",
    propagateTags: "SERVICE",
    tags: writeTags(spec.labels, spec.port),
  };
}

function logConfiguration({ name, region }: LogGroup): ContainerDefinition["logConfiguration"] {
  return { logDriver: "awslogs", options: { "awslogs-group": name, "awslogs-region": region, "awslogs-stream-prefix": LOG_PREFIX } };
}

/** Policies of existing installations deny RegisterTaskDefinition and CreateService without this tag. */
const CALLER: Tag = { key: "caller", value: "grok_spawner" };

export function writeTags(labels: Labels, port: number | undefined): Tag[] {
  return [CALLER, ...Object.entries(writeLabels(labels, port)).map(([key, value]) => ({ key, value }))];
}

/** Undefined for a service that berth did not create. */
export function readTags(tags: readonly Tag[] | undefined): { labels: Labels; port: number | undefined } | undefined {
  const written = Object.fromEntries((tags ?? []).map(({ key = "", value = "" }) => [key, value]));
  const labels = parseLabels(written);
  return labels && { labels, port: readPort(written) };
}
