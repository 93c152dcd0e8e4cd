import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Sqlite from "better-sqlite3";
import { endSessionsAtRest, tokenDigest } from "../../../control/identity/sessions.ts";
import { LIFECYCLE_LIMITS } from "../../../control/lifecycle/limits.ts";
import { openLifecycle } from "../../../control/lifecycle/open-lifecycle.ts";
import { containerEnvironment } from "../../../control/packages/credentials/container-environment.ts";
import { openCredentials } from "../../../control/packages/credentials/open-credentials.ts";
import { openKeyFile } from "../../../control/packages/credentials/key-file.ts";
import { openVault } from "../../../control/packages/credentials/open-vault.ts";
import { openPublisher } from "../../../control/packages/publish/open-publisher.ts";
import { ZIP_LIMITS } from "../../../control/packages/publish/receive-upload.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { openLog } from "../../../lib/log.ts";
import { createStillClock, type StillClock, turns } from "../../fixtures/clock.ts";
import { openMemoryWorld } from "../../fixtures/memory-driver.ts";
import type { StoreDatabase } from "../../fixtures/store-kinds.ts";
import { BEFORE, LIFE, type Process, type Truth, USER } from "./crash-steps.ts";
import { Killed, type KillSwitch, openKillSwitch } from "./kill-switch.ts";

const AMQP = { amqpHost: "", amqpPort: 0, amqpUser: "", amqpPassword: "", amqpAuthMode: "jwt", tls: false } as const;
const QUEUE = { ...AMQP, pipeHost: "", pipePort: 0, pipeKey: "", pipeAuthMode: "password" } as const;
const STAND = { apiUrl: undefined, queue: QUEUE };
/** Longer than any back-off of a container that owes one failure. */
const SETTLES_WITHIN_MS = 180_000;
/** What a process that died leaves is put right within the first reconcile period of the next one. */
const CONVERGES_WITHIN_MS = LIFECYCLE_LIMITS.sweepMs;
const STEP_MS = 1_000;

export type Lived = {
  /** How many places it passed at which it could have died. */
  places: number;
  diedAt: string | undefined;
  /** How often each image was started. */
  starts: Record<string, number>;
  /** What did not come about, in words; empty where all is well. */
  trouble: string[];
};

/**
 * One life of a small package over the real store, with an orchestrator in memory and time that stands still, killed at the given
 * place; then another process takes over the same folder and orchestrator, and what was acknowledged must come about. What sleeps may lie frozen
 * for `pausedMs`. `database`: a new one.
 */
export async function live(killedAt?: number, pausedMs = 0, database: StoreDatabase = { postgres: undefined }): Promise<Lived> {
  const folder = mkdtempSync(join(tmpdir(), "berth-crash-"));
  const log = openLog({ level: "silent", name: "test" });
  let clock: StillClock = createStillClock();
  // The orchestrator goes on when berth dies, so it follows whichever clock moves.
  const following = {
    ...clock,
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    sleep: (ms: number, signal?: AbortSignal) => clock.sleep(ms, signal),
  };
  const world = openMemoryWorld(following, { sockets: false });
  const starts: Record<string, number> = {};
  /** What the container of each image was last given. */
  const tokens = new Map<string, string>();
  for (const ref of ["demo/web:1", "demo/web:2", "demo/lazy:1", "demo/lazy:2"]) {
    world.apps.set(ref, {
      exposed: [5353],
      run: ({ env, listen }) => {
        tokens.set(ref, env["USER_API_KEY"] ?? "");
        starts[ref] = (starts[ref] ?? 0) + 1;
        listen();
      },
    });
  }
  const open = async (kill: KillSwitch): Promise<Process> => {
    const own = await openStore({ folder, clock, ...database });
    const store = kill.store(own);
    const driver = kill.driver(world.open());
    const vault = await openVault({ store: own, keyFile: openKeyFile(folder), given: [], log });
    const credentials = openCredentials({ store: own, vault, clock });
    const lifecycle = await openLifecycle({
      store,
      driver,
      clock,
      log,
      environment: "test",
      ...containerEnvironment({ store, vault, credentials, stand: STAND, signQueueToken: async () => "" }),
      filesFolder: folder,
      random: () => 0,
      limits: { pausedMs },
    });
    const publisher = await openPublisher({
      store,
      lifecycle,
      credentials: { record: async () => [] },
      dataFolder: folder,
      environment: "test",
      clock,
      maxPackageBytes: 100_000,
      limits: ZIP_LIMITS,
    });
    if (!(await store.users.find(USER.id))) await store.users.insert({ ...USER, friendlyName: "Ada", createdOn: 1 });
    await endSessionsAtRest(store, lifecycle, {
      error: ({ err }) => {
        // At the moment of death there is no one to get the failure.
        if (!(err instanceof Killed)) throw err;
      },
    });
    await lifecycle.start();
    return { store, lifecycle, publisher, close: async () => own.close() };
  };

  const kill = openKillSwitch(killedAt);
  const lived: Lived = { places: 0, diedAt: undefined, starts, trouble: [] };
  let now = await open(kill);
  let reborn = false;
  const dead = () => !reborn && kill.diedAt() !== undefined;

  const unfinished = async () => {
    const facts = await world.open().list({ signal: new AbortController().signal });
    const deleted = new Set((await now.store.images.all()).flatMap(({ id, state }) => (state === "DELETED" ? id : [])));
    const rows = (await now.store.containers.all()).filter((row) => !deleted.has(row.imageId) || row.state !== "USER_STOPPED");
    const truth: Record<string, string | undefined> = {};
    const left = new Set(facts.map(({ service }) => service));
    for (const row of rows) {
      const mine = facts.filter(({ labels }) => labels.container === row.id);
      const [fact] = mine;
      const serves = row.state === "STARTED" && row.runningGeneration === row.generation && fact?.running === true && mine.length === 1;
      const version = (await now.store.images.find(row.imageId))?.ref.split(":")[1];
      const same = serves && fact.labels.generation === row.generation && fact.addresses[0]?.port === row.addresses[0]?.port;
      const spoken = (await now.store.sessions.byContainer(row.id)).map((session) => session.digest);
      const imageRef = (await now.store.images.find(row.imageId))?.ref ?? "";
      if (same && !spoken.includes(tokenDigest(tokens.get(imageRef) ?? ""))) left.add("a token that does not count");
      const frozen = row.state === "SYSTEM_STOPPED" && row.pausedOn !== undefined && fact?.paused === true && mine.length === 1;
      if (frozen && !spoken.includes(tokenDigest(tokens.get(imageRef) ?? ""))) left.add("a frozen one whose token is gone");
      if (!fact && spoken.length > 0) left.add("a token without a user");
      truth[row.folder] = same ? `runs ${version}` : fact && !frozen ? `${row.state}, yet there is ${mine.length} of it` : row.state;
      if (fact && (same || frozen)) left.delete(fact.service);
    }
    const images = (await now.store.images.all()).filter(({ state }) => state !== "READY" && state !== "DELETED");
    return { ...truth, orphans: [...left], unsettled: images.map(({ name, state }) => `${name} ${state}`) };
  };
  /** Waits until one of these is true, or the process is dead. */
  const settles = async (withinMs: number, ...truths: Truth[]): Promise<void> => {
    const truthTexts = truths.map((truth) => inWords({ ...truth, orphans: [], unsettled: [] }));
    const giveUpAt = clock.monotonic() + withinMs;
    for (let turn = 1; !dead(); turn++) {
      const is = inWords(await unfinished());
      if (truthTexts.includes(is)) return;
      if (clock.monotonic() >= giveUpAt) throw new Error(`is ${is} instead of ${truthTexts.join(" or ")}`);
      await turns(2);
      if (turn % 50 === 0) await clock.advance(STEP_MS);
    }
  };
  const restart = async () => {
    await now.close();
    lived.trouble.push(...damage(folder));
    clock = createStillClock(clock.now() + 1);
    reborn = true;
    now = await open(openKillSwitch());
  };

  let before = BEFORE;
  try {
    for (const { name, ask, after } of LIFE) {
      try {
        let acknowledged = await isReplied(() => ask(now, world, clock));
        if (!dead() && acknowledged) await settles(SETTLES_WITHIN_MS, after);
        if (!dead()) continue;
        await restart();
        await settles(CONVERGES_WITHIN_MS, ...(acknowledged ? [after] : [before, after]));
        acknowledged ||= await isReplied(() => ask(now, world, clock));
        await settles(SETTLES_WITHIN_MS, after);
      } catch (error) {
        lived.trouble.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
        break;
      } finally {
        before = after;
      }
    }
  } finally {
    lived.places = kill.passed();
    lived.diedAt = kill.diedAt();
    await now.lifecycle.close();
    await now.close();
    await world.close();
    lived.trouble.push(...damage(folder));
    rmSync(folder, { recursive: true, force: true });
  }
  return lived;
}

/** What SQLite finds wrong with the store's file, in words. */
function damage(folder: string): string[] {
  const file = new Sqlite(join(folder, "berth.db"), { readonly: true });
  const problems = [file.pragma("integrity_check", { simple: true }), ...(file.pragma("foreign_key_check") as unknown[])];
  file.close();
  return problems.filter((finding) => finding !== "ok").map((finding) => `the store is damaged: ${JSON.stringify(finding)}`);
}

/** True where it returned: its caller knows that it is done. */
async function isReplied(ask: () => unknown): Promise<boolean> {
  try {
    await ask();
    return true;
  } catch (error) {
    if (error instanceof Killed) return false;
    throw error;
  }
}

/** The same words for the same truth, in whatever order it was found; what is undefined is not there. */
function inWords(truth: Record<string, unknown>): string {
  return JSON.stringify(Object.fromEntries(Object.entries(truth).toSorted(([one], [other]) => one.localeCompare(other))));
}
