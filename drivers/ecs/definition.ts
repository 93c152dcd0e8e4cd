import { createHash } from "node:crypto";
import type { ContainerDefinition, CreateServiceCommandInput, RegisterTaskDefinitionCommandInput } from "@aws-sdk/client-ecs";
import { advisedFault } from "../faults.ts";
import type { Spec } from "../driver.ts";
import { cpuUnits, type TaskLaunch } from "./launch.ts";
import type { LogGroup, EcsSite } from "./site.ts";
import { writeTags } from "./labels.ts";

/** Log streams are `<prefix>/<container>/<task id>`; the policies in the field let nothing else be read. */
const LOG_PREFIX = "grok_spawner";
/** Between SIGTERM and SIGKILL, as with the other drivers. */
const STOP_GRACE_S = 10;
/** What Fargate's tasks have without asking, and the most that they may ask for. */
const STORAGE_GB = { free: 20, most: 200 };
/** What a container has without asking, and what container.json says without being asked. */
const USUAL_SHM_MB = 64;
const USUAL_STORAGE_GB = 21;

/** A container's name within its task; the log stream has it too. */
export function containerName({ service }: Pick<Spec, "service">): string {
  return service;
}

export function logStream(service: string, taskId: string): string {
  return `${LOG_PREFIX}/${containerName({ service })}/${taskId}`;
}

/** One task of one container. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html. Faults: SPEC_REFUSED. */
export function taskDefinition(spec: Spec, launch: TaskLaunch, site: Pick<EcsSite, "execRole" | "logGroup">): RegisterTaskDefinitionCommandInput {
  const onEc2 = launch.type === "EC2";
  if (!onEc2 && spec.storageGb > STORAGE_GB.most) {
    const sentence = `${spec.service} wants ${spec.storageGb} GB of storage; Fargate has ${STORAGE_GB.most} GB at most`;
    throw advisedFault("SPEC_REFUSED", sentence, { todo: "Ask for less `storage` in container.json." });
  }
  const container: ContainerDefinition = {
    name: containerName(spec),
    image: spec.image,
    essential: true,
    cpu: cpuUnits(spec),
    // A hard limit, as on every other engine, also where the task is larger than what was asked for.
    memory: Math.ceil(spec.memoryMb),
    environment: Object.entries(spec.env).map(([name, value]) => ({ name, value })),
    stopTimeout: STOP_GRACE_S,
    ...(spec.port === undefined ? {} : { portMappings: [{ containerPort: spec.port, protocol: "tcp" }] }),
    ...(onEc2 ? { linuxParameters: { sharedMemorySize: Math.ceil(spec.shmMb) } } : {}),
    ...(spec.gpu > 0 ? { resourceRequirements: [{ type: "GPU", value: String(spec.gpu) }] } : {}),
    ...(site.logGroup ? { logConfiguration: logConfiguration(site.logGroup) } : {}),
  };
  return {
    family: spec.service,
    networkMode: "awsvpc",
    requiresCompatibilities: [launch.type],
    containerDefinitions: [container],
    ...(site.execRole === undefined ? {} : { executionRoleArn: site.execRole }),
    ...(launch.type === "EC2" ? {} : { cpu: String(launch.size.cpu), memory: String(launch.size.memoryMb) }),
    ...(!onEc2 && spec.storageGb > STORAGE_GB.free ? { ephemeralStorage: { sizeInGiB: Math.ceil(spec.storageGb) } } : {}),
    tags: writeTags(spec.labels, spec.port),
  };
}

/** What the container is run without, each in a few words that name it. What nobody asked for is not missed. */
export function notHonoured({ shmMb, storageGb }: Pick<Spec, "shmMb" | "storageGb">, launch: TaskLaunch): string[] {
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
    launchType: launch.type,
    // Of this definition alone: the same token for another request would be refused.
    clientToken: createHash("sha256").update(`${site.aws.cluster}\0${definitionArn}\0${site.countingBreaker}`).digest("hex").slice(0, 36),
    networkConfiguration: {
      awsvpcConfiguration: { subnets: [...site.subnets], securityGroups: [...site.securityGroups], assignPublicIp: "DISABLED" },
    },
    deploymentConfiguration: {
      // Never two at once: plugins may hold what only one can hold.
      maximumPercent: 100,
      minimumHealthyPercent: 0,
      deploymentCircuitBreaker: {
        enable: true,
        rollback: true,
        // Otherwise three tasks must fail before ECS gives up.
        ...(site.countingBreaker ? { thresholdConfiguration: { type: "COUNT" as const, value: 1 } } : {}),
      },
    },
    // It would want to run a second one beside the first.
    availabilityZoneRebalancing: "DISABLED",
    propagateTags: "SERVICE",
    tags: writeTags(spec.labels, spec.port),
  };
}

function logConfiguration({ name, region }: LogGroup): ContainerDefinition["logConfiguration"] {
  return { logDriver: "awslogs", options: { "awslogs-group": name, "awslogs-region": region, "awslogs-stream-prefix": LOG_PREFIX } };
}
