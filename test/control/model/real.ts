import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Lifecycle } from "../../../control/lifecycle/open-lifecycle.ts";
import { recordPackage, stageFolders } from "../../../control/packages/publish/record-package.ts";
import type { Definition } from "../../../control/packages/publish/definitions.ts";
import type { Container, ContainerConfig } from "../../../control/model/entities.ts";
import type { HistoryEntry } from "../../../control/model/records.ts";
import type { Labels } from "../../../drivers/driver.ts";
import { openStore, type Store } from "../../../control/store/open-store.ts";
import type { StoreDatabase } from "../../fixtures/store-kinds.ts";
import { openStoredRows, type StoredRows } from "../../fixtures/stored-rows.ts";
import { crashing, listening, type MemoryApp, type MemoryWorld, mute, openMemoryWorld } from "../../fixtures/memory-driver.ts";
import { type StillClock, createStillClock, turns } from "../../fixtures/clock.ts";
import { openModelLifecycle } from "./open-model-lifecycle.ts";
import { openScript, type Script } from "./scripted-driver.ts";

export const USER = { id: "22222222-2222-4222-8222-222222222222", admin: false };
const GATEWAY = "gateway";
/** What a disk keeps is tested elsewhere; here it would take nine tenths of the time. */
const MEMORY = "/dev/shm";

/** So few workers that five containers have to wait for each other, and not so few that one call that hangs keeps all of them waiting. */
const TWO = { total: 2, perUser: 2 };
const FEW = { startSlots: TWO, lanes: { start: { total: 3, perUser: 3 }, stop: TWO, look: TWO, image: TWO, sweep: { total: 1, perUser: 1 } } };

/** One of each kind: without and with sleep, and by what they wake. */
export const SHAPES = {
  web: { onDemand: false },
  nap: { onDemand: false, shutdownTimeoutMinutes: 1 },
  lazy: { onDemand: true },
  doze: { onDemand: true, shutdownTimeoutMinutes: 1 },
  // A life begins on a Tuesday at 22:13:20.
  warm: { onDemand: true, shutdownTimeoutMinutes: 1, keepWarm: ["Tue,Wed 22:14-22:20", "Tue,Wed 22:30-23:00"] },
} as const satisfies Record<string, Partial<ContainerConfig>>;
export type Folder = keyof typeof SHAPES;
export const FOLDERS = Object.keys(SHAPES) as Folder[];

/** What a folder's image does; one that is missing is in no registry. */
const APPS = { good: listening, portless: { exposed: [], run: () => {} }, crashing, mute, missing: undefined } satisfies Record<
  string,
  MemoryApp | undefined
>;
export type App = keyof typeof APPS;
export const APP_NAMES = Object.keys(APPS) as App[];

/** A move as the store made it. */
export type Moved = Pick<HistoryEntry, "entity" | "fromState" | "toState" | "event">;

export type Left = Pick<Labels, "container" | "generation"> & { service: string };

/** The lifecycle on a real store: an orchestrator in memory, one gateway, and time that stands still until a command moves it. */
export type Real = {
  world: MemoryWorld;
  script: Script;
  clock(): StillClock;
  /** As committed. */
  rows(): StoredRows;
  transaction: Store["transaction"];
  /** As the transaction around it sees it. */
  find: Store["containers"]["find"];
  lifecycle(): Lifecycle;
  /** Undefined where its package does not have it. */
  row(folder: Folder): Container | undefined;
  /** Every move since the store was made, oldest first. */
  moves: Moved[];
  /** How many moves there were when a container was removed, which takes its history along. */
  forgotten: Map<string, number>;
  /** Publishes the package with these folders and no others; their images are what these apps are. */
  publish(apps: Partial<Record<Folder, { app: App; version: number }>>): Promise<void>;
  /** A service with a container's labels that berth did not start, unless there is one of that name; as `docker start` would. */
  startBehind(left: Left): void;
  /** The container that its package had, of those that it has no more. */
  lastRemoved(): Left | undefined;
  /** HTTP requests open at the gateway; it tells of them, and of the changes that it has seen, with `report`. */
  open: Map<string, number>;
  report(): Promise<void>;
  /** As by `kill -9`, at once; the next process comes up later, with a gateway that was not there before. */
  restart(downMs: number): Promise<void>;
  close(): Promise<void>;
};

/** `pausedMs`: for how long what sleeps lies frozen, 0 where it is ended at once. */
export async function openReal({ pausedMs, database }: { pausedMs: number; database: StoreDatabase }): Promise<Real> {
  const folder = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), "berth-model-"));
  let clock = createStillClock();
  const following = { ...clock, now: () => clock.now(), monotonic: () => clock.monotonic() };
  const world = openMemoryWorld({ ...following, sleep: (ms, signal) => clock.sleep(ms, signal) }, { sockets: false });
  const script = openScript();
  const moves: Moved[] = [];

  let removed: Left | undefined;
  /** Which stay with their folders for good. */
  const ids = new Map<Folder, string>();

  const forgotten = new Map<string, number>();

  const begin = async () => {
    const own = await openStore({ folder, clock, ...database });
    const rows = openStoredRows(folder, database);
    const store = telling(own, rows, moves);
    const { driver, kill } = script.over(world.open());
    const lifecycle = await openModelLifecycle({ store, driver, clock, filesFolder: folder, limits: { pausedMs, ...FEW } });
    if (!(await store.users.find(USER.id))) await store.users.insert({ ...USER, login: "ada", friendlyName: "Ada", createdOn: 1 });
    await lifecycle.start();
    lifecycle.gatewayJoined(GATEWAY, lifecycle.seq());
    const close = () => {
      rows.close();
      return own.close();
    };
    return { store, rows, lifecycle, kill, close };
  };
  let now = await begin();
  const open = new Map<string, number>();

  return {
    world,
    script,
    clock: () => clock,
    rows: () => now.rows,
    transaction: (work) => now.store.transaction(work),
    find: (id) => now.store.containers.find(id),
    lifecycle: () => now.lifecycle,
    row: (name) => {
      const id = ids.get(name) ?? now.rows.containers.all().find((row) => row.folder === name)?.id;
      if (id !== undefined) ids.set(name, id);
      return id === undefined ? undefined : now.rows.containers.find(id);
    },
    moves,
    forgotten,
    publish: async (apps) => {
      const definitions = Object.entries(apps).map(([name, { version }]) => definitionOf(name as Folder, version));
      for (const [name, { app, version }] of Object.entries(apps)) {
        const behaves = APPS[app];
        if (behaves) world.apps.set(refOf(name, version), behaves);
      }
      const context = { store: now.store, environment: "test", now: clock.now(), keepVersions: 2, replicas: undefined };
      const id = (await now.store.packages.byName("demo"))?.id ?? randomUUID();
      await stageFolders(context, { id, version: "1.0.0" }, definitions, () => "");
      const recorded = await now.store.transaction(() =>
        recordPackage(context, { name: "demo", version: "1.0.0", description: "" }, USER, definitions, id),
      );
      await now.store.staging.clear(id);
      for (const { imageId } of recorded.folders) await now.lifecycle.requestValidation(imageId, USER.id);
      for (const { containerId } of recorded.folders) await now.lifecycle.definitionChanged(containerId, USER.id);
      for (const container of recorded.removed) {
        await now.lifecycle.remove(container.id);
        forgotten.set(container.id, moves.length);
        removed = { container: container.id, generation: container.generation, service: container.service };
      }
    },
    startBehind: ({ service, ...labels }) => {
      if (!world.left(service).includes(service)) world.begin(service, { ...labels, store: now.store.id, environment: "test" });
    },
    lastRemoved: () => (removed && now.rows.containers.find(removed.container) ? undefined : removed),
    open,
    report: async () => {
      const lastActive = clock.now();
      const uses = [...open].filter(([, count]) => count > 0).map(([id, count]) => ({ id, open: count, streams: count, lastActive }));
      await now.lifecycle.recordUse({ gateway: GATEWAY, seq: now.lifecycle.seq(), uses });
    },
    restart: async (downMs) => {
      now.kill();
      world.forget();
      await now.close();
      open.clear();
      clock = createStillClock(clock.now() + downMs);
      now = await begin();
      await turns();
    },
    close: async () => {
      await now.lifecycle.close();
      now.kill();
      await now.close();
      await world.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export function refOf(folder: string, version: number): string {
  return `demo/${folder}:${version}`;
}

function definitionOf(folder: Folder, version: number): Definition {
  const config = { cpu: 1, memoryMb: 64, gpu: 0, shmMb: 64, storageGb: 1, ...SHAPES[folder] };
  return {
    folder,
    at: "",
    hash: "",
    dockerfile: "",
    dockerfilePath: "",
    imageJson: undefined,
    container: { config, env: {}, image: refOf(folder, version), warnings: [] },
    warnings: [],
    image: `demo-${folder}`,
    name: `demo-${folder}`,
    ref: refOf(folder, version),
    mutable: false,
    contentHash: undefined,
  };
}

/** The same store, every move of which is written down here too. */
function telling(store: Store, stored: StoredRows, moves: Moved[]): Store {
  const stateOf = (id: string) => stored.images.find(id)?.state ?? "";
  const watched = <Row extends { move: (...args: never[]) => Promise<unknown> }>(rows: Row): Row => ({
    ...rows,
    move: async (...args: never[]) => {
      const [entity, fromState, toState, , reason] = args as unknown as [string, string, string, unknown, { event: string } | undefined];
      const moved = await rows.move(...args);
      if (moved) store.afterCommit(() => moves.push({ entity, fromState, toState, event: reason?.event ?? "" }));
      return moved;
    },
  });
  const images: Store["images"] = {
    ...watched(store.images),
    removeAll: async (ids, now, reason) => {
      const before = await Promise.all(ids.map(async (id) => ({ entity: id, fromState: (await store.images.find(id))?.state ?? "" })));
      await store.images.removeAll(ids, now, reason);
      store.afterCommit(() => moves.push(...before.map((one) => ({ ...one, toState: "DELETED", event: reason.event }))));
    },
  };
  const staging: Store["staging"] = {
    ...store.staging,
    record: async (packageId, known, reason) => {
      const before = await Promise.all(known.map(async (id) => ({ entity: id, fromState: (await store.images.find(id))?.state ?? "" })));
      await store.staging.record(packageId, known, reason);
      store.afterCommit(() => moves.push(...before.map((one) => ({ ...one, toState: stateOf(one.entity), event: reason.event }))));
    },
  };
  return { ...store, containers: watched(store.containers), images, staging };
}
