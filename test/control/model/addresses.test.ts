import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import t from "tap";
import { viewOf } from "../../../control/lifecycle/changes.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { createContainerCache } from "../../../gateway/feed/container-cache.ts";
import { type StoreDatabase, storeKinds, waitForStatements } from "../../fixtures/store-kinds.ts";
import { openStoredRows } from "../../fixtures/stored-rows.ts";
import { createStillClock, turns } from "../../fixtures/clock.ts";
import { newContainer, newImage, PACKAGE, USER } from "../lifecycle/lifecycle-fixture.ts";
import { openAddressWorld } from "./address-world.ts";
import { checkLives, REPLAY } from "./check-lives.ts";
import { openModelLifecycle } from "./open-model-lifecycle.ts";

/**
 * Containers that start, die and are given each other's addresses, while events come late, in any order or never, and answers are as old as they may be. A request
 * is sent where a gateway's own cache leads, the control plane killed or not: never to an address at which another container takes connections.
 * `npm run model` lives thousands of lives.
 */
const LONGEST = 60;
const NAMES = ["a", "b", "c", "d"] as const;
type Name = (typeof NAMES)[number];
/** How many addresses each container has. */
const COUNTS: Record<Name, number> = { a: 1, b: 2, c: 3, d: 1 };
const MEMORY = "/dev/shm";
t.setTimeout(0);

type AddressFixture = Awaited<ReturnType<typeof openReal>>;
type AddressCommand = fc.AsyncCommand<object, AddressFixture>;

async function openReal(database: StoreDatabase) {
  const folder = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), "berth-addresses-"));
  const names = new Map<string, Name>();
  const world = openAddressWorld((service) => COUNTS[names.get(service) ?? "d"]);
  let clock = createStillClock();
  /** What a gateway knows; it outlives control. */
  const cache = createContainerCache();
  const begin = async () => {
    const store = await openStore({ folder, clock, ...database });
    const { driver, kill } = world.open();
    const rows = openStoredRows(folder, database);
    const lifecycle = await openModelLifecycle({ store, driver, clock, filesFolder: folder });
    const follow = () => {
      cache.replace(rows.containers.all().map(viewOf));
      lifecycle.watch((change) => void ("container" in change && cache.change(viewOf(change.container))));
      lifecycle.gatewayJoined("gateway", lifecycle.seq());
    };
    const close = () => {
      rows.close();
      return store.close();
    };
    return { store, rows, lifecycle, kill, follow, close };
  };
  let now = await begin();
  await now.store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
  await now.store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  const config = { cpu: 1, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true, port: 80 };
  const ids: string[] = [];
  for (const name of NAMES) {
    const image = { ...newImage(name, 1), state: "READY" as const, exposed: [80], resolvedId: name };
    await now.store.images.insert(image);
    const { id, service } = await now.store.containers.insert(newContainer(image, config, 1));
    ids.push(id);
    names.set(service, name);
  }
  await now.lifecycle.start();
  now.follow();
  const real = {
    world,
    clock: () => clock,
    lifecycle: () => now.lifecycle,
    row: (nth: number) => {
      const row = now.rows.containers.find(ids[nth] ?? "");
      assert.ok(row);
      return row;
    },
    rows: () => now.rows.containers.all(),
    sent: { served: 0, refused: 0, held: 0 },
    /** Where a request may be sent now, by what the gateway knows: to its own container, or nowhere. One that is refused at an address is sent to the next. */
    send: (nth: number): "served" | "refused" | "held" => {
      const id = ids[nth] ?? "";
      const view = cache.find(id);
      if (view?.availability.kind !== "awake") return "held";
      const met = view.availability.addresses.flatMap(({ port }) => world.listenerAt(port) ?? []);
      for (const one of met) assert.equal(one, id, `a request for ${NAMES[nth]} met ${NAMES[ids.indexOf(one)]}`);
      return met.length === 0 ? "refused" : "served";
    },
    request: async (nth: number) => {
      const id = ids[nth] ?? "";
      const outcome = real.send(nth);
      real.sent[outcome]++;
      if (outcome === "served") return;
      try {
        await now.lifecycle.wake(id, USER);
      } catch {
        // Refused, with the cause of its last start.
      }
    },
    judge: () => {
      const held = real.rows().flatMap(({ addresses }) => addresses.map(({ port }) => port));
      assert.equal(new Set(held).size, held.length, "no address is two containers'");
      const current = ids.flatMap((id) => {
        const availability = cache.find(id)?.availability;
        return availability?.kind === "awake" ? availability.addresses.map(({ port }) => port) : [];
      });
      assert.equal(new Set(current).size, current.length, "nor for a gateway");
    },
    restart: async (downMs: number, meanwhile: () => void) => {
      now.kill();
      await now.close();
      meanwhile();
      clock = createStillClock(clock.now() + downMs);
      now = await begin();
      await now.lifecycle.start();
      now.follow();
      await turns();
    },
    close: async () => {
      world.hold(false);
      world.boot();
      await now.lifecycle.close();
      now.kill();
      await now.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return real;
}

function command(name: string, run: (real: AddressFixture) => unknown): AddressCommand {
  return {
    check: () => true,
    run: async (_, real) => {
      await run(real);
      real.judge();
      for (const nth of NAMES.keys()) real.send(nth);
    },
    toString: () => name,
  };
}

const which = fc.nat({ max: NAMES.length - 1 });
const of = (name: string, run: (nth: number, real: AddressFixture) => unknown) =>
  which.map((nth) => command(`${name} ${NAMES[nth]}`, (real) => run(nth, real)));
const plain = (name: string, run: (real: AddressFixture) => unknown) => fc.constant(command(name, run));

const COMMANDS: fc.Arbitrary<AddressCommand>[] = [
  of("request", (nth, real) => real.request(nth)),
  of("request", (nth, real) => real.request(nth)),
  of("dies", (nth, real) => real.world.end(real.row(nth).service)),
  of("dies", (nth, real) => real.world.end(real.row(nth).service)),
  of("loses an address", (nth, real) => real.world.shrink(real.row(nth).service)),
  of("stop", (nth, real) => real.lifecycle().requestStop(real.row(nth).id, USER)),
  fc.nat({ max: 5 }).map((nth) => command(`event ${nth}`, (real) => real.world.tell(nth))),
  fc.nat({ max: 5 }).map((nth) => command(`event ${nth} lost`, (real) => real.world.lose(nth))),
  plain("events break off", (real) => real.world.reconnect()),
  plain("answers are late", (real) => real.world.hold(true)),
  plain("answers come", (real) => real.world.hold(false)),
  plain("one answer comes", (real) => real.world.letOne()),
  plain("what starts listens", (real) => real.world.boot()),
  plain("what starts listens", (real) => real.world.boot()),
  fc.integer({ min: 1, max: 8 }).map((count) => command(`${count} turns`, () => turns(count))),
  fc.constantFrom(100, 1_000, 11_000).map((ms) => command(`${ms} ms`, (real) => real.clock().advance(ms))),
  fc.tuple(which, fc.boolean(), fc.constantFrom(1, 20_000)).map(([nth, dies, downMs]) =>
    command(`control is killed for ${downMs} ms${dies ? `, ${NAMES[nth]} dies` : ""}`, (real) => {
      const { service } = real.row(nth);
      return real.restart(downMs, () => {
        if (dies) real.world.end(service);
        // Without control, the gateway serves what it knows.
        for (const each of NAMES.keys()) real.send(each);
      });
    }),
  ),
];

/** How many lives; those on PostgreSQL take ten times as long. */
const LIVES = { SQLite: { usual: 150 }, PostgreSQL: { usual: 4, share: 0.05 } };
waitForStatements();

for (const kind of storeKinds(t))
  t.test(`${kind.name}: no request reaches another container, whatever the engine tells and when`, async (t) => {
    let served = 0;
    const property = fc.asyncProperty(fc.commands(COMMANDS, { maxCommands: LONGEST, size: "max", ...REPLAY }), async (commands) => {
      const real = await openReal(await kind.fresh());
      try {
        await fc.asyncModelRun(() => ({ model: {}, real }), commands);
        await settles(real);
        served += real.sent.served;
      } finally {
        await real.close();
      }
    });
    await checkLives(t, property, { file: "test/control/model/addresses.test.ts", ...LIVES[kind.name] });
    t.ok(served > 0, `${served} requests served`);
  });

/** With nothing in the way any more, each container that gets requests answers in the end. */
async function settles(real: AddressFixture): Promise<void> {
  real.world.hold(false);
  for (const nth of NAMES.keys()) {
    const before = real.sent.served;
    for (let passed = 0; passed < 200 && real.sent.served === before; passed++) {
      real.world.boot();
      await real.request(nth);
      await turns(3);
      real.judge();
      real.world.tell(0);
      await real.clock().advance(1_000);
    }
    assert.ok(real.sent.served > before, `${NAMES[nth]} answers: ${JSON.stringify(real.row(nth))}`);
  }
}
