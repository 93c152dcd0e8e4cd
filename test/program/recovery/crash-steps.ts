import type { Lifecycle } from "../../../control/lifecycle/open-lifecycle.ts";
import type { Publisher } from "../../../control/packages/publish/open-publisher.ts";
import type { Container } from "../../../control/model/entities.ts";
import type { Store } from "../../../control/store/open-store.ts";
import { zipOf } from "../../fixtures/berth.ts";
import type { MemoryWorld } from "../../fixtures/memory-driver.ts";
import type { StillClock } from "../../fixtures/clock.ts";
import { Killed } from "./kill-switch.ts";

export const USER = { id: "22222222-2222-4222-8222-222222222222", login: "ada", admin: false };

/** What runs as one process; the next one opens the same folder. */
export type Process = { store: Store; lifecycle: Lifecycle; publisher: Publisher; close(): Promise<void> };
/** What is true of a folder's container: a version that runs, or how it is stopped; undefined where there is none. */
export type Truth = Record<"web" | "lazy", `runs ${1 | 2}` | "USER_STOPPED" | "SYSTEM_STOPPED" | undefined>;
export type CrashStep = { name: string; ask(process: Process, world: MemoryWorld, clock: StillClock): Promise<unknown>; after: Truth };

const publish =
  (folders: Record<string, object>) =>
  async ({ publisher }: Process) => {
    const json = Object.entries(folders).map(([folder, json]) => [`dockerfiles/${folder}/container.json`, JSON.stringify(json)]);
    const zip = await zipOf({ "package.json": JSON.stringify({ name: "demo", version: "1.0.0" }), ...Object.fromEntries(json) });
    const body = (async function* () {
      yield Buffer.from(zip);
    })();
    await publisher.publish({ name: "demo", user: USER, authorize: async () => USER, debug: false, body, signal: new AbortController().signal });
  };
const of = async ({ store }: Process, folder: string) => (await store.containers.all()).find((row) => row.folder === folder) as Container;
const web = (version: number) => ({ image: `demo/web:${version}` });
const lazy = (version: number) => ({ image: `demo/lazy:${version}`, on_demand: true, shutdown_timeout: IDLE_MINUTES });
/** Longer than any other step waits. */
const IDLE_MINUTES = 10;
/** It happens without a call and without a notification. */
const fallAsleep = async (now: Process, _world: MemoryWorld, clock: StillClock) => {
  await now.lifecycle.recordUse({
    gateway: "gateway",
    seq: 0,
    uses: [{ id: (await of(now, "web")).id, open: 0, streams: 0, lastActive: clock.now() }],
  });
  await clock.advance(IDLE_MINUTES * 60_000 + 1_000);
  if ((await of(now, "lazy")).state === "STARTED") throw new Killed();
};

/** Each is requested once, and once more if its acknowledgement was lost. */
export const LIFE: CrashStep[] = [
  { name: "publish", ask: publish({ web: web(1), lazy: lazy(1) }), after: { web: "USER_STOPPED", lazy: "SYSTEM_STOPPED" } },
  {
    name: "run",
    ask: async (now) => now.lifecycle.requestStart((await of(now, "web")).id, USER.id),
    after: { web: "runs 1", lazy: "SYSTEM_STOPPED" },
  },
  { name: "wake", ask: async (now) => now.lifecycle.wake((await of(now, "lazy")).id, USER.id), after: { web: "runs 1", lazy: "runs 1" } },
  { name: "stop", ask: async (now) => now.lifecycle.requestStop((await of(now, "web")).id, USER.id), after: { web: "USER_STOPPED", lazy: "runs 1" } },
  { name: "run again", ask: async (now) => now.lifecycle.requestStart((await of(now, "web")).id, USER.id), after: { web: "runs 1", lazy: "runs 1" } },
  { name: "fall asleep", ask: fallAsleep, after: { web: "runs 1", lazy: "SYSTEM_STOPPED" } },
  { name: "wake again", ask: async (now) => now.lifecycle.wake((await of(now, "lazy")).id, USER.id), after: { web: "runs 1", lazy: "runs 1" } },
  { name: "end by itself", ask: async (now, world) => world.kill((await of(now, "web")).service), after: { web: "runs 1", lazy: "runs 1" } },
  { name: "redefine", ask: publish({ web: web(2), lazy: lazy(2) }), after: { web: "runs 2", lazy: "runs 2" } },
  { name: "remove", ask: publish({ lazy: lazy(2) }), after: { web: undefined, lazy: "runs 2" } },
  {
    name: "stop the other",
    ask: async (now) => now.lifecycle.requestStop((await of(now, "lazy")).id, USER.id),
    after: { web: undefined, lazy: "USER_STOPPED" },
  },
];
export const BEFORE: Truth = { web: undefined, lazy: undefined };
