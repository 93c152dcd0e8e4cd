/** A driver in the kit: what it runs on, and the cases that it cannot pass there, each with the reason. */
export type ConformanceBackend = { name: string; on: string; cannot: Readonly<Record<string, string>> };

const NO_PAUSE = (reason: string) => ({ paused: reason, "paused-ended": reason });
const NO_HEALTHCHECK = (reason: string) => ({ healthcheck: reason, "healthcheck-fails": reason });
const NO_EXEC = (reason: string) => ({ exec: reason, "exec-terminal": reason, "exec-left": reason });
const REPLACES = "it replaces unhealthy tasks, so berth does not hand it the check";
const IGNORES = "it ignores an image's health check";
const NO_ENGINE = "there is no engine that could be unavailable";

export const BACKENDS = {
  docker: { name: "docker", on: "a Docker engine", cannot: {} },
  swarm: { name: "swarm", on: "a Docker Swarm of one node", cannot: { ...NO_PAUSE("a Swarm has no such call"), ...NO_HEALTHCHECK(REPLACES) } },
  ecs: {
    name: "ecs",
    on: "moto, behind a layer that adds what it does not have and refuses what AWS refuses",
    cannot: {
      ...NO_PAUSE("ECS has no such call"),
      ...NO_HEALTHCHECK(IGNORES),
      usage: "ECS reports no statistics of a task",
      listeners: "berth cannot look into a task",
      "lost-events": "ECS has no stream of events: the driver polls, so no stream can break",
      capabilities: "a task has what its launch type gives it, and moto's are plain processes",
    },
  },
  kubernetes: {
    name: "kubernetes",
    on: "a double of a cluster, which refuses what the API refuses and runs pods as processes",
    cannot: {
      ...NO_PAUSE("Kubernetes has no such call"),
      ...NO_HEALTHCHECK(IGNORES),
      listeners: "berth cannot look into a pod without a right to run commands in it",
    },
  },
  process: {
    name: "process",
    on: "this machine",
    cannot: {
      ...NO_HEALTHCHECK("a plain process has no image whose check an engine would run"),
      ...NO_PAUSE("it ends sleeping containers, as it is for trying berth"),
      ...NO_EXEC("a plain process shares berth's user and files"),
      memory: "a plain process has no limit of its own",
      capabilities: "a plain process has what berth has",
      gpu: "a plain process has the machine's GPUs, without a request",
      "log-times": "its log is a file that the process writes, without times",
      moved: "a process keeps its port as long as it lives",
      "lost-events": NO_ENGINE,
      away: NO_ENGINE,
      "away-meanwhile": NO_ENGINE,
    },
  },
  spawner: {
    name: "spawner",
    on: "a `berth spawner` over a Docker engine",
    cannot: {
      ...NO_PAUSE("the spawner's API has no such call"),
      ...NO_HEALTHCHECK("the spawner's engine may be any"),
      ...NO_EXEC("the spawner's API has no such call"),
      replicas: "the spawner's engine may be any",
      listeners: "the spawner's API has no such call",
      "health-status": "the spawner's API has no such report",
    },
  },
  memory: {
    name: "the tests' fake",
    on: "nothing: it replaces a driver in tests of the lifecycle",
    cannot: {
      ...NO_HEALTHCHECK("it runs no image"),
      ...NO_EXEC("it runs no processes"),
      grace: "its apps end at once",
      "http-own-port": "its apps have one server each",
      "health-status": "it reports no more than it needs to",
      usage: "its apps share one process",
      gpu: "it has no machines",
      capabilities: "it runs no processes",
      listeners: "it runs no processes",
      "lost-events": "its events are no stream that can break",
    },
  },
} as const satisfies Record<string, ConformanceBackend>;
