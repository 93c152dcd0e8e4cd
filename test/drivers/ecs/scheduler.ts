// ECS's own scheduler, which moto has none of: it starts, ends and replaces tasks as the developer guide says, and accepts nothing by itself.
import { randomUUID } from "node:crypto";
import type { Container, Task } from "@aws-sdk/client-ecs";
import { runTask, type TaskProcess } from "./task-process.ts";

/** Dates as they are on the wire: seconds since 1970. */
type OnWire<T> = { [K in keyof T]?: T[K] extends Date | undefined ? number : T[K] extends object | undefined ? unknown : T[K] };
export type WireTask = OnWire<Task> & { taskArn: string; containers: (OnWire<Container> & { name: string })[] };

/** What shall become of the tasks of a service, where it is not to run: `task` as ECS describes it then, or an event instead of any task. */
export type TaskFate = { task?: OnWire<Task> & { reason?: string; exitCode?: number }; event?: string; address?: "none"; pending?: true };

export type Scheduled = {
  name: string;
  clusterArn: string;
  definition: {
    arn: string;
    environment: { name: string; value: string }[];
    container: string;
    image: string;
    memoryMb: number;
    /** Undefined: that of the machine. */
    architecture: string | undefined;
    /** Seconds. */
    stopTimeout: number;
    log: { group: string; prefix: string } | undefined;
  };
  deployment: string;
  launchType: string;
  /** Tasks get the agent for ECS Exec. */
  execs: boolean;
  createdAt: number;
  events: { id: string; createdAt: number; message: string }[];
  rolloutState: "IN_PROGRESS" | "COMPLETED" | "FAILED";
  rolloutStateReason: string;
  failedTasks: number;
  desired: number;
  /** Of failed tasks, with which the circuit breaker opens. */
  threshold: number;
};

type World = {
  folderOf(image: string): string | undefined;
  /** As in the image's configuration. */
  architectureOf(image: string): string;
  fateOf(service: string): TaskFate | undefined;
  say(log: { group: string; stream: string }, line: string): Promise<void>;
  /** How long ECS takes to replace a task that ended; some seconds there. */
  restartMs(): number;
  /** How long the agent for ECS Exec takes to connect. */
  agentMs(): number;
  /** How long it takes to tell a task to end. */
  stopMs(): number;
};

const now = () => Date.now() / 1_000;

/**
 * What moto lacks: tasks of a service, which run, end, are replaced, and fail a rollout, as "Amazon ECS task lifecycle" and "deployment circuit
 * breaker" of the developer guide say. Each task is a process that listens at an address of its own on loopback.
 */
export function openScheduler(world: World) {
  const tasks = new Map<string, { task: WireTask; of: Scheduled; process: TaskProcess | undefined }>();
  const timers = new Set<NodeJS.Timeout>();
  let addresses = 0;
  let closed = false;

  /** In the order of "Task lifecycle": what is being stopped is STOPPING until its containers have ended. */
  const stop = (task: WireTask, stopCode: Task["stopCode"], stoppedReason: string) => {
    task.desiredStatus = "STOPPED";
    task.stopCode ??= stopCode;
    task.stoppedReason ??= stoppedReason;
    task.lastStatus = "STOPPED";
    task.stoppedAt = now();
  };

  const failed = (of: Scheduled) => {
    of.failedTasks++;
    if (of.failedTasks < of.threshold) return later(world.restartMs(), () => start(of));
    of.rolloutState = "FAILED";
    of.rolloutStateReason = `ECS deployment circuit breaker: tasks failed to start.`;
  };

  const start = (of: Scheduled) => {
    if (of.desired === 0 || of.rolloutState === "FAILED") return;
    const fate = world.fateOf(of.name);
    if (fate?.event !== undefined) {
      of.events.unshift({ id: randomUUID(), createdAt: now(), message: `(service ${of.name}) ${fate.event}` });
      return;
    }
    const id = randomUUID().replaceAll("-", "");
    const host = `127.${20 + (Math.floor(process.pid / 256) % 200)}.${process.pid % 256}.${(addresses++ % 250) + 2}`;
    const details = [
      { name: "networkInterfaceId", value: `eni-${id.slice(0, 17)}` },
      { name: "privateDnsName", value: `ip-${host.replaceAll(".", "-")}.eu-west-1.compute.internal` },
      ...(fate?.address === "none" ? [] : [{ name: "privateIPv4Address", value: host }]),
    ];
    const container: WireTask["containers"][number] = { name: of.definition.container, lastStatus: "PENDING", image: of.definition.image };
    const task: WireTask = {
      taskArn: of.clusterArn.replace(":cluster/", ":task/") + `/${id}`,
      clusterArn: of.clusterArn,
      group: `service:${of.name}`,
      startedBy: of.deployment,
      taskDefinitionArn: of.definition.arn,
      launchType: of.launchType as Task["launchType"],
      lastStatus: "PENDING",
      desiredStatus: "RUNNING",
      createdAt: now(),
      attachments: [{ id: randomUUID(), type: "ElasticNetworkInterface", status: "ATTACHED", details }],
      // On Fargate, AWS may put one of its own beside it: https://docs.aws.amazon.com/guardduty/latest/ug/runtime-monitoring.html
      containers: [{ name: "aws-guardduty-agent-x1", lastStatus: "RUNNING" }, container],
      enableExecuteCommand: of.execs,
    };
    const entry: { task: WireTask; of: Scheduled; process: TaskProcess | undefined } = { task, of, process: undefined };
    tasks.set(task.taskArn, entry);
    if (fate?.pending !== true) void run(entry, container, host, fate?.task);
  };

  const run = async (
    entry: { task: WireTask; of: Scheduled; process: TaskProcess | undefined },
    container: WireTask["containers"][number],
    host: string,
    fate: TaskFate["task"],
  ) => {
    const { task, of } = entry;
    const { definition } = of;
    if (fate) {
      const { reason, exitCode, ...rest } = fate;
      Object.assign(task, rest);
      if (reason !== undefined) container.reason = reason;
      if (exitCode !== undefined) container.exitCode = exitCode;
      container.lastStatus = "STOPPED";
      stop(task, "TaskFailedToStart", "Task failed to start");
      return failed(of);
    }
    const folder = world.folderOf(definition.image);
    if (folder === undefined) {
      stop(task, "TaskFailedToStart", `CannotPullContainerError: failed to resolve ref ${definition.image}: not found`);
      return failed(of);
    }
    // Fargate's default, and that of the instances here.
    const platform = `linux/${definition.architecture === "ARM64" ? "arm64" : "amd64"}`;
    if (`linux/${world.architectureOf(definition.image)}` !== platform) {
      const reason = `image Manifest does not contain descriptor matching platform '${platform}'`;
      stop(task, "TaskFailedToStart", `CannotPullContainerError: pull image manifest has been retried 7 time(s): ${reason}`);
      return failed(of);
    }
    const stream = definition.log && {
      group: definition.log.group,
      stream: `${definition.log.prefix}/${definition.container}/${task.taskArn.split("/").at(-1)}`,
    };
    let published = Promise.resolve();
    task.pullStartedAt = now();
    const env = Object.fromEntries(definition.environment.map(({ name, value }) => [name, value]));
    const say = (text: string) => void (stream && (published = published.then(() => world.say(stream, text))));
    const started = await runTask({ folder, host, env, memoryMb: definition.memoryMb, say }).catch((error: Error) => error);
    task.pullStoppedAt = now();
    if (started instanceof Error) {
      container.reason = `CannotStartContainerError: Error response from daemon: failed to create task for container: ${started.message}`;
      stop(task, "TaskFailedToStart", "Task failed to start");
      return failed(of);
    }
    entry.process = started;
    if (task.desiredStatus === "STOPPED") started.kill("SIGTERM");
    Object.assign(task, { lastStatus: task.desiredStatus === "STOPPED" ? "STOPPING" : "RUNNING", startedAt: now() });
    container.lastStatus = "RUNNING";
    if (of.execs) {
      const agent = { name: "ExecuteCommandAgent", lastStatus: "PENDING" };
      container.managedAgents = [agent];
      later(world.agentMs(), () => (agent.lastStatus = "RUNNING"));
    }
    // Some time after, ECS finds the service steady.
    later(300, () => {
      if (task.lastStatus !== "RUNNING" || of.rolloutState !== "IN_PROGRESS") return;
      of.rolloutState = "COMPLETED";
    });
    const { code, outOfMemory } = await started.ended;
    await published;
    entry.process = undefined;
    container.lastStatus = "STOPPED";
    container.exitCode = code;
    // As the page on stopped tasks' errors quotes it.
    if (outOfMemory) container.reason = "OutOfMemoryError: Container killed due to memory usage";
    stop(task, "EssentialContainerExited", "Essential container in task exited");
    if (of.rolloutState === "IN_PROGRESS") failed(of);
    else later(world.restartMs(), () => start(of));
  };

  const later = (ms: number, act: () => void) => {
    if (closed) return;
    const timer = setTimeout(() => {
      timers.delete(timer);
      act();
    }, ms);
    timers.add(timer);
  };

  return {
    tasks: () => [...tasks.values()].map(({ task }) => task),
    /** A task by its ARN, and its process while it runs. */
    find: (arn: string) => tasks.get(arn),
    start: (of: Scheduled) => later(20, () => start(of)),
    /** As DeleteService with force and a scheduler that then has nothing to keep: SIGTERM, and SIGKILL after the grace. */
    end: (of: Scheduled) => {
      of.desired = 0;
      for (const { task, of: owner, process } of tasks.values()) {
        if (owner !== of || task.lastStatus === "STOPPED") continue;
        Object.assign(task, {
          lastStatus: "STOPPING",
          desiredStatus: "STOPPED",
          stopCode: "ServiceSchedulerInitiated",
          stoppedReason: `Scaling activity initiated by (deployment ${of.deployment})`,
        });
        if (!process && task.pullStartedAt === undefined) stop(task, "ServiceSchedulerInitiated", "");
        later(world.stopMs(), () => process?.kill("SIGTERM"));
        later(world.stopMs() + of.definition.stopTimeout * 1_000, () => process?.kill("SIGKILL"));
      }
    },
    /** True once a service that is deleted counts as INACTIVE: "after all tasks have transitioned to either STOPPING or STOPPED". */
    isDrained: (of: Scheduled) =>
      [...tasks.values()].every(({ task, of: owner }) => owner !== of || ["STOPPING", "STOPPED"].includes(task.lastStatus ?? "")),
    live: (of: Scheduled) => [...tasks.values()].filter(({ task, of: owner }) => owner === of && task.lastStatus !== "STOPPED"),
    /** As StopTask, which a person asks for, or ECS itself where it takes a machine away: the service then starts another. */
    stopTask: (service: string) => {
      for (const { task, of, process } of tasks.values()) {
        if (of.name !== service || task.lastStatus !== "RUNNING") continue;
        Object.assign(task, { lastStatus: "STOPPING", desiredStatus: "STOPPED", stopCode: "UserInitiated", stoppedReason: "Task stopped by user" });
        process?.kill("SIGTERM");
      }
    },
    kill: (service: string) => {
      for (const { of, process } of tasks.values()) if (of.name === service) process?.kill("SIGKILL");
    },
    close: async () => {
      closed = true;
      for (const timer of timers) clearTimeout(timer);
      const running = [...tasks.values()].flatMap(({ process }) => process ?? []);
      for (const process of running) process.kill("SIGKILL");
      await Promise.all(running.map(({ ended }) => ended));
    },
  };
}
