import type { AddressInfo } from "node:net";
import type { Test } from "tap";
import type { Driver } from "../../../../drivers/driver.ts";
import { hostsDriver } from "../../../../drivers/hosts.ts";
import { openCallers, openSpawner } from "../../../../drivers/spawner/server/open-spawner.ts";
import { type Clock, systemClock } from "../../../../lib/clock.ts";
import type { Signers } from "../../../../lib/jwks/signers.ts";
import { type Log, openLog } from "../../../../lib/log.ts";
import { crashing, listening, type MemoryWorld, mute, openMemoryWorld } from "../../../fixtures/memory-driver.ts";
import { askSpawner, driverFor, SPAWNER_KEY, type SpawnerResponse } from "../../../fixtures/spawner.ts";

export type SpawnerFixture = {
  port: number;
  world: MemoryWorld;
  /** Where what is for the host `datagrok` runs, with `options.hosts`; else that is in `world` too. */
  second: MemoryWorld;
  /** What was logged, a line each. */
  logged: string[];
  driver(): Driver;
  ask(method: string, path: string, more?: Parameters<typeof askSpawner>[3]): Promise<SpawnerResponse>;
};

/** The API on a port of its own, over services in memory: driver calls can be counted and delayed. */
export async function openStand(
  t: Test,
  options: {
    limits?: Parameters<typeof openSpawner>[0]["limits"];
    signers?: Signers;
    apiUrl?: string;
    environment?: string;
    clock?: Clock;
    hosts?: boolean;
    /** Its orchestrator gives addresses to others by itself. */
    watchedAddresses?: boolean;
  } = {},
): Promise<SpawnerFixture> {
  const clock = options.clock ?? systemClock();
  const world = openMemoryWorld(systemClock());
  for (const [name, app] of Object.entries({ listening, mute, crashing })) world.apps.set(name, app);
  world.apps.set("datagrok/listening:1.0", listening);
  const second = openMemoryWorld(systemClock());
  second.apps = world.apps;
  const logged: string[] = [];
  const write = (fields: object, sentence: string) => void logged.push(`${sentence} ${JSON.stringify(fields)}`);
  const log: Log = { ...openLog({ level: "silent", name: "test" }), info: write, warn: write, error: write };
  const spawner = await openSpawner({
    driver: {
      ...(options.hosts ? hostsDriver({ cvm: world.open(), datagrok: second.open(), apart: true }) : world.open()),
      ...(options.watchedAddresses ? { watchedAddresses: true } : {}),
    },
    callers: openCallers({ key: SPAWNER_KEY, audience: "datagrok-spawner", signers: options.signers, clock }),
    environment: options.environment ?? "test",
    apiUrl: options.apiUrl,
    version: "1.2.3",
    keepAliveTimeoutMs: 75_000,
    at: { host: "127.0.0.1", port: 0 },
    limits: options.limits ?? {},
    clock,
    log,
  });
  t.teardown(async () => {
    await spawner.close();
    await world.close();
    await second.close();
  });
  const { port } = spawner.address() as AddressInfo;
  return { port, world, second, logged, driver: () => driverFor(port), ask: (method, path, more) => askSpawner(port, method, path, more) };
}

/** A body as berth's own control sends it. */
export function specBody(container: string, generation = 1, more: object = {}): object {
  return {
    image: "memory:listening",
    port: 5353,
    environmentVars: {},
    cpu: 0.5,
    memory: 128,
    graceMs: 1,
    labels: { store: "a-store", environment: "test", container, generation },
    ...more,
  };
}
