import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "tap";
import type { Clock } from "../../../lib/clock.ts";
import type { LifecycleLimits } from "../../../control/lifecycle/limits.ts";
import { type Lifecycle, type LifecycleOptions, openLifecycle } from "../../../control/lifecycle/open-lifecycle.ts";
import type { ContainerState } from "../../../control/model/states.ts";
import type { Container, ContainerConfig, Image } from "../../../control/model/entities.ts";
import type { PostgresOptions } from "../../../control/store/postgres/address.ts";
import { openStore, type Store } from "../../../control/store/open-store.ts";
import type { Driver } from "../../../drivers/driver.ts";
import { openStoredRows } from "../../fixtures/stored-rows.ts";
import { openLog } from "../../../lib/log.ts";
import { listening, type MemoryApp, type MemoryWorld, openMemoryWorld } from "../../fixtures/memory-driver.ts";
import { type StillClock, createStillClock, turns } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";

export const USER = "22222222-2222-4222-8222-222222222222";
export const PACKAGE = "33333333-3333-4333-8333-333333333333";

const CONFIG: ContainerConfig = { cpu: 0.5, memoryMb: 256, gpu: 0, shmMb: 64, storageGb: 21, onDemand: false };

export type LifecycleFixture = {
  clock: StillClock;
  world: MemoryWorld;
  /** The present ones: another after each `restart`. */
  store: () => Store;
  lifecycle: () => Lifecycle;
  /** Publishes a container of an image; by default one that answers. */
  publish(options?: {
    app?: MemoryApp;
    config?: Partial<ContainerConfig>;
    name?: string;
    state?: ContainerState;
    dockerfile?: string;
  }): Promise<Container>;
  /** As committed. */
  row(id: string): Container;
  image(id: string): Image;
  /** Resolves once the container is in this state, in real turns while time stands still. */
  reaches(id: string, state: ContainerState): Promise<Container>;
  /** As `USER`: the command, and then its outcome. */
  start(id: string): Promise<Container>;
  wake(id: string): Promise<Container>;
  stop(id: string): Promise<Container>;
  /** As after `kill -9`: nothing of the old process is closed in order, its clock never moves again, and a new one starts. */
  restart(): Promise<void>;
};

/** The lifecycle on a real store, with an orchestrator in memory and a still clock. */
export async function openLifecycleFixture(
  t: Test,
  options: {
    limits?: Partial<LifecycleLimits>;
    start?: boolean;
    tcp?: LifecycleOptions["tcp"];
    injectedEnv?: LifecycleOptions["injectedEnv"];
    imagePolicy?: LifecycleOptions["imagePolicy"];
    capacity?: LifecycleOptions["capacity"];
    /** Called at each opening: as of several control processes. */
    leaderEpoch?: () => number;
    metrics?: LifecycleOptions["metrics"];
    /** Puts something between the lifecycle and the orchestrator. */
    driver?: (driver: Driver, clock: Clock) => Driver;
    /** Default: SQLite. */
    postgres?: PostgresOptions;
  } = {},
): Promise<LifecycleFixture> {
  const folder = mkdtempSync(join(tmpdir(), "berth-lifecycle-"));
  const log = openLog({ level: "silent", name: "test" });
  let clock = createStillClock();
  const world = openMemoryWorld({ ...clock, sleep: (ms, signal) => clock.sleep(ms, signal), monotonic: () => clock.monotonic() });
  const open = async () => {
    const { postgres } = options;
    const store = await openStore({ folder, clock, postgres });
    const rows = openStoredRows(folder, { postgres });
    const lifecycle = await openLifecycle({
      store,
      driver: options.driver?.(world.open(), clock) ?? world.open(),
      clock,
      log,
      environment: "test",
      injectedEnv: options.injectedEnv ?? (({ requestedBy }) => ({ USER_API_KEY: `token-of-${requestedBy}` })),
      filesFolder: folder,
      random: () => 0,
      tcp: options.tcp,
      imagePolicy: options.imagePolicy,
      capacity: options.capacity,
      leaderEpoch: options.leaderEpoch?.(),
      ...(options.metrics ? { metrics: options.metrics } : {}),
      ...(options.limits ? { limits: options.limits } : {}),
    });
    const close = () => {
      rows.close();
      return store.close();
    };
    return { store, rows, lifecycle, close };
  };
  let now = await open();
  await now.store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
  await now.store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  if (options.start !== false) await now.lifecycle.start();
  t.teardown(async () => {
    await now.lifecycle.close();
    await now.close();
    await world.close();
    rmSync(folder, { recursive: true });
  });

  const stand: LifecycleFixture = {
    get clock() {
      return clock;
    },
    world,
    store: () => now.store,
    lifecycle: () => now.lifecycle,
    publish: async ({ app = listening, config = {}, name = "web", state, dockerfile = "" } = {}) => {
      const image = { ...newImage(name, clock.now()), dockerfile };
      const container = newContainer(image, { ...CONFIG, ...config }, clock.now());
      world.apps.set(image.ref, app);
      await now.store.images.insert(image);
      await now.store.containers.insert({ ...container, state: state ?? container.state });
      await now.lifecycle.requestValidation(image.id);
      await now.lifecycle.definitionChanged(container.id);
      return container;
    },
    row: (id) => now.rows.containers.find(id) as Container,
    image: (id) => now.rows.images.find(id) as Image,
    reaches: async (id, state) => {
      await eventually(
        () => `${id} is ${state} (${stand.row(id).state})`,
        () => stand.row(id).state === state,
      );
      return stand.row(id);
    },
    start: async (id) => {
      await now.lifecycle.requestStart(id, USER);
      return stand.reaches(id, "STARTED");
    },
    wake: async (id) => {
      await now.lifecycle.wake(id, USER);
      return stand.reaches(id, "STARTED");
    },
    stop: async (id) => {
      await now.lifecycle.requestStop(id, USER);
      return stand.reaches(id, "USER_STOPPED");
    },
    restart: async () => {
      await now.close();
      clock = createStillClock(clock.now() + 1);
      now = await open();
      await now.lifecycle.start();
      await turns();
    },
  };
  return stand;
}

export function newImage(name: string, now: number): Image {
  const id = randomUUID();
  return {
    id,
    packageId: PACKAGE,
    folder: name,
    name,
    friendlyName: name,
    description: "",
    version: "1.0.0",
    ref: `datagrok/${name}:1.0.0`,
    dockerfile: "",
    dockerfilePath: "",
    files: "",
    state: "PENDING_VALIDATION" as const,
    since: now,
    fault: undefined,
    resolvedId: undefined,
    digest: undefined,
    exposed: [],
    command: [],
    healthcheck: undefined,
    mutable: false,
    contentHash: undefined,
    warnings: [],
    logs: "",
    createdOn: now,
    updatedOn: now,
  };
}

export function newContainer(image: Image, config: ContainerConfig, now: number): Container {
  const id = randomUUID();
  return {
    id,
    packageId: PACKAGE,
    imageId: image.id,
    folder: image.folder,
    name: image.name,
    friendlyName: image.name,
    service: `test-${image.name}-${id.slice(0, 8)}`,
    generation: 1,
    config,
    env: { OWN: "yes" },
    desiredInstances: 0 as const,
    requestedBy: undefined,
    requestedKey: undefined,
    requestedSession: undefined,
    requestedOn: 0,
    requestedFor: undefined,
    stopFor: config.onDemand ? ("system" as const) : ("user" as const),
    state: config.onDemand ? ("SYSTEM_STOPPED" as const) : ("USER_STOPPED" as const),
    since: now,
    fault: undefined,
    runningGeneration: undefined,
    runningSince: undefined,
    deployed: undefined,
    adopted: undefined,
    addresses: [],
    tcpPort: undefined,
    phases: undefined,
    pausedOn: undefined,
    warmUp: undefined,
    busyUntil: 0,
    attempts: 0,
    notBefore: 0,
    lastLogs: "",
    replicaOf: undefined,
    replica: undefined,
    lastActive: 0,
    createdOn: now,
    updatedOn: now,
  };
}
