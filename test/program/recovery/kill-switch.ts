import type { Driver } from "../../../drivers/driver.ts";
import type { Store } from "../../../control/store/open-store.ts";

/** What a write throws at the moment of death, and every write after it. */
export class Killed extends Error {}

/**
 * Counts the places at which a process can die to different effect: before a write, before a call to the orchestrator, and for calls
 * that change something also as soon as it was sent, and when it was carried out and the answer is lost.
 */
export type KillSwitch = {
  /** What has been passed so far. */
  passed(): number;
  /** Where it died, once it has. */
  diedAt(): string | undefined;
  store(store: Store): Store;
  driver(driver: Driver): Driver;
};

/** `at` counts from 1; without it, nothing dies. */
export function openKillSwitch(at = Infinity): KillSwitch {
  let passed = 0;
  let diedAt: string | undefined;
  /** True where the process is dead. */
  const pass = (place: string): boolean => {
    if (diedAt !== undefined) return true;
    passed++;
    if (passed === at) diedAt = place;
    return diedAt !== undefined;
  };
  const silence = new Promise<never>(() => {});

  /** A table of the store whose writes may be the ones that never happen. */
  const mortal = <Target extends object>(target: Target, name: string, writes: readonly (keyof Target & string)[]): Target => {
    const wrapped = { ...target };
    for (const write of writes) {
      const real = target[write] as (...args: unknown[]) => Promise<unknown>;
      const dying = async (...args: unknown[]) => {
        if (pass(`before ${name}.${write}(${args.filter((arg) => typeof arg === "string" && !arg.includes("-")).join(", ")})`)) throw new Killed();
        return real(...args);
      };
      wrapped[write] = dying as Target[typeof write];
    }
    return wrapped;
  };
  const asking =
    <Args extends unknown[], Answer>(name: string, ask: (...args: Args) => Promise<Answer>) =>
    (...args: Args): Promise<Answer> =>
      pass(`before ${name}`) ? silence : ask(...args).then((answer) => (diedAt === undefined ? answer : silence), dead);
  const changing =
    <Args extends unknown[], Answer>(name: string, change: (...args: Args) => Promise<Answer>) =>
    async (...args: Args): Promise<Answer> => {
      if (pass(`before ${name}`)) return silence;
      const begun = change(...args);
      if (pass(`${name} sent`)) {
        await begun.catch(() => {});
        return silence;
      }
      const answer = await begun.catch(dead);
      return pass(`${name} carried out`) ? silence : answer;
    };
  /** No caller is there to get the failure. */
  const dead = (error: unknown): Promise<never> => {
    if (diedAt !== undefined) return silence;
    throw error;
  };

  return {
    passed: () => passed,
    diedAt: () => diedAt,
    store: (store) => ({
      ...store,
      containers: mortal(store.containers, "containers", ["insert", "update", "stopAll", "move", "remove", "touch"]),
      images: mortal(store.images, "images", ["insert", "update", "removeAll", "move"]),
      packages: mortal(store.packages, "packages", ["insert", "update"]),
      sessions: mortal(store.sessions, "sessions", ["insert", "remove", "removeByContainer"]),
      tombstones: mortal(store.tombstones, "tombstones", ["reopen", "clear"]),
      staging: mortal(store.staging, "staging", ["stage", "record", "clear"]),
      // Its last write is done and the disk does not have it yet.
      transaction: (work, options) =>
        store.transaction(async () => {
          const done = await work();
          if (pass("before a commit")) throw new Killed();
          return done;
        }, options),
    }),
    driver: (driver) => ({
      ...driver,
      resolve: asking("resolve", driver.resolve),
      inspect: asking("inspect", driver.inspect),
      list: asking("list", driver.list),
      deploy: changing("deploy", driver.deploy),
      ...(driver.pause ? { pause: changing("pause", driver.pause) } : {}),
      destroy: changing("destroy", driver.destroy),
    }),
  };
}
