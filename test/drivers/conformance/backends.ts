/** A driver in the kit: what it runs on, and the cases that it cannot pass there, each with the reason. */
export type ConformanceBackend = { name: string; on: string; cannot: Readonly<Record<string, string>> };

const NO_PAUSE = (reason: string) => ({ paused: reason, "paused-ended": reason });
const NO_ENGINE = "there is no engine that could be unavailable";

export const BACKENDS = {
  docker: { name: "docker", on: "a Docker engine", cannot: {} },
  swarm: { name: "swarm", on: "a Docker Swarm of one node", cannot: NO_PAUSE("a Swarm has no such call") },
  ecs: {
    name: "ecs",
    on: "moto, behind a layer that adds what it does not have and refuses what AWS refuses",
    cannot: {
      ...NO_PAUSE("ECS has no such call"),
      listeners: "berth cannot look into a task",
      "lost-events": "ECS has no stream of events: the driver polls, so no stream can break",
      capabilities: "a task has what its launch type gives it, and moto's are plain processes",
    },
  },
  kubernetes: {
    name: "kubernetes",
    on: "a double of a cluster, which refuses what the API refuses and runs pods as processes",
    cannot: { ...NO_PAUSE("Kubernetes has no such call"), listeners: "berth cannot look into a pod without a right to run commands in it" },
  },
  process: {
    name: "process",
    on: "this machine",
    cannot: {
      ...NO_PAUSE("it ends sleeping containers, as it is for trying berth"),
      memory: "a plain process has no limit of its own",
      capabilities: "a plain process has what berth has",
      gpu: "a plain process has the machine's GPUs, without a request",
      moved: "a process keeps its port as long as it lives",
      "lost-events": NO_ENGINE,
      away: NO_ENGINE,
      "away-meanwhile": NO_ENGINE,
    },
  },
  spawner: {
    name: "spawner",
    on: "a `berth spawner` over a Docker engine",
    cannot: { ...NO_PAUSE("the spawner's API has no such call"), listeners: "the spawner's API has no such call" },
  },
  memory: {
    name: "the tests' fake",
    on: "nothing: it replaces a driver in tests of the lifecycle",
    cannot: {
      gpu: "it has no machines",
      capabilities: "it runs no processes",
      listeners: "it runs no processes",
      "lost-events": "its events are no stream that can break",
    },
  },
} as const satisfies Record<string, ConformanceBackend>;
