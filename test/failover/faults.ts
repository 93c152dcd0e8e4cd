import { pause } from "../fixtures/clock.ts";
import type { FailoverCluster } from "./cluster.ts";
import type { CutDirection } from "./networks.ts";

/**
 * `crash`: another process has to lead. `planned`: the leader hands over. `standby`, `clock`: the leader goes on. `outage`: wakes wait until it is over. Those
 * of `clock` and `outage` are measured from when `play` resolves.
 */
export const FAULT_KINDS = ["crash", "planned", "standby", "clock", "outage"] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** `leader`: its place in the list of control processes. */
type FaultPlay = (cluster: FailoverCluster, leader: number, pick: <T>(list: readonly T[]) => T) => Promise<() => Promise<void>>;

/** `play` resolves when the fault is there, or for an outage when it is over. What it returns ends it. */
export type FailoverFault = { name: string; kind: FaultKind; play: FaultPlay };

const DIRECTIONS: readonly CutDirection[] = ["both", "sent", "received"];
const STEPS_SECONDS = [-7_200, -90, 90, 7_200];
/** A change of a clock counts after a second. */
const CLOCK_MS = 1_100;
const DEPOSED_MS = 1_000;
const nothing = async () => undefined;

function at<T>(list: readonly T[], place: number): T {
  const one = list[place];
  if (one === undefined) throw new Error(`nothing at ${place}`);
  return one;
}

const standbyOf = (cluster: FailoverCluster, leader: number) => (leader + 1) % cluster.controls.length;
const databaseOf = (cluster: FailoverCluster) => [cluster.networks.databaseHost];
const gatewaysOf = (cluster: FailoverCluster) => cluster.networks.gateways.map(({ host }) => host);
const othersOf = (cluster: FailoverCluster) => [...databaseOf(cluster), ...gatewaysOf(cluster)];

function clockStep(name: string, place: (cluster: FailoverCluster, leader: number) => { setClock(seconds: number): void }): FailoverFault {
  return {
    name: `clock step of ${name}`,
    kind: "clock",
    play: async (cluster, leader, pick) => {
      const stepped = place(cluster, leader);
      stepped.setClock(pick(STEPS_SECONDS));
      await pause(CLOCK_MS);
      return async () => {
        stepped.setClock(0);
        await pause(CLOCK_MS);
      };
    },
  };
}

export const FAULTS: readonly FailoverFault[] = [
  {
    name: "kill -9 of the leader",
    kind: "crash",
    play: async (cluster, leader) => {
      at(cluster.controls, leader).signal("SIGKILL");
      return nothing;
    },
  },
  {
    name: "loss of the leader's machine",
    kind: "crash",
    play: async (cluster, leader) => {
      const restore = at(cluster.networks.controls, leader).cut(othersOf(cluster), "both");
      await at(cluster.controls, leader).loseMachine();
      return async () => restore();
    },
  },
  {
    name: "SIGSTOP of the leader beyond its lease",
    kind: "crash",
    play: async (cluster, leader) => {
      const pid = at(cluster.controls, leader).pid();
      process.kill(pid, "SIGSTOP");
      const until = performance.now() + cluster.leaseSeconds * 1_000 + DEPOSED_MS;
      return async () => {
        await pause(Math.max(0, until - performance.now()));
        process.kill(pid, "SIGCONT");
      };
    },
  },
  {
    name: "the leader without its database",
    kind: "crash",
    play: async (cluster, leader, pick) => {
      const restore = at(cluster.networks.controls, leader).cut(databaseOf(cluster), pick(DIRECTIONS));
      return async () => {
        await pause(DEPOSED_MS);
        restore();
      };
    },
  },
  {
    name: "SIGTERM of the leader",
    kind: "planned",
    play: async (cluster, leader) => {
      at(cluster.controls, leader).signal("SIGTERM");
      return nothing;
    },
  },
  {
    name: "step-down of the leader",
    kind: "planned",
    play: async (cluster) => {
      await at(cluster.gateways, 0).call("/admin/control/step-down", { method: "POST" });
      return nothing;
    },
  },
  {
    name: "kill -9 of a standby",
    kind: "standby",
    play: async (cluster, leader) => {
      at(cluster.controls, standbyOf(cluster, leader)).signal("SIGKILL");
      return nothing;
    },
  },
  clockStep("the leader", ({ networks }, leader) => at(networks.controls, leader)),
  clockStep("a standby", (cluster, leader) => at(cluster.networks.controls, standbyOf(cluster, leader))),
  clockStep("a gateway", ({ networks }) => at(networks.gateways, 0)),
  {
    name: "the leader without its gateways",
    kind: "outage",
    play: async (cluster, leader, pick) => {
      const restore = at(cluster.networks.controls, leader).cut(gatewaysOf(cluster), pick(DIRECTIONS));
      await pause(4_000);
      restore();
      return nothing;
    },
  },
  {
    name: "restart of the database",
    kind: "outage",
    play: async ({ postgres }) => {
      await postgres.stop("SIGINT");
      await pause(500);
      await postgres.start();
      return nothing;
    },
  },
  {
    name: "kill of the database",
    kind: "outage",
    play: async ({ postgres }) => {
      await postgres.stop("SIGKILL");
      await pause(3_000);
      await postgres.start();
      return nothing;
    },
  },
];
