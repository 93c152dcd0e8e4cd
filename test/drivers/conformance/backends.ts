/** A driver as the kit meets it: on what it was run, and which cases it cannot have there, each with the reason. */
export type Backend = { name: string; on: string; cannot: Readonly<Record<string, string>> };

const NO_PAUSE = (reason: string) => ({ paused: reason, "paused-ended": reason });
const NO_ENGINE = "there is no engine that could be away";

export const BACKENDS = {
  docker: { name: "docker", on: "a Docker engine", cannot: {} },
  swarm: { name: "swarm", on: "a Docker Swarm of one node", cannot: NO_PAUSE("a swarm has no such call") },
  ecs: {
    name: "ecs",
    on: "moto, with a layer before it that adds what it lacks and refuses what AWS does",
    cannot: { ...NO_PAUSE("ECS has no such call"), "lost-events": "ECS has no stream of events: all is looked at anew, so there is none to break" },
  },
  kubernetes: {
    name: "kubernetes",
    on: "a double of a cluster, which refuses what the API does and runs pods as processes",
    cannot: NO_PAUSE("Kubernetes has no such call"),
  },
  process: {
    name: "process",
    on: "this machine",
    cannot: {
      ...NO_PAUSE("it ends what sleeps, to try berth out with"),
      memory: "a plain process has no limit of its own",
      moved: "a process has its port as long as it lives",
      "lost-events": NO_ENGINE,
      away: NO_ENGINE,
      "away-meanwhile": NO_ENGINE,
    },
  },
  spawner: { name: "spawner", on: "a `berth spawner` over a Docker engine", cannot: NO_PAUSE("the spawner's API has no such call") },
  memory: {
    name: "the tests' fake",
    on: "nothing: it stands in for a driver in tests of the lifecycle",
    cannot: { "lost-events": "its events are no stream that could break" },
  },
} as const satisfies Record<string, Backend>;
