import t, { type Test } from "tap";
import { viewOf } from "../../../control/lifecycle/changes.ts";
import type { Driver, Observed } from "../../../drivers/driver.ts";
import type { ContainerView } from "../../../gateway/contract.ts";
import { type MemoryApp, listening } from "../../fixtures/memory-driver.ts";
import { turns } from "../../fixtures/clock.ts";
import { openLifecycleFixture, type LifecycleFixture, USER } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** An engine whose looks can be held up, and whose answers can be other ones than what is so. */
async function openHeldStand(t: Test, options: { driver?: (driver: Driver) => Driver } = {}) {
  let hold: Promise<void> | undefined;
  let release = () => {};
  const overrides = new Map<string, Partial<Observed>>();
  const views: ContainerView[] = [];
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({
      ...(options.driver?.(driver) ?? driver),
      inspect: async (service, call) => {
        await hold;
        const fact = await driver.inspect(service, call);
        return fact && { ...fact, ...overrides.get(service) };
      },
    }),
  });
  const held = {
    ...stand,
    views,
    overrides,
    holdLooks: () => void (hold = new Promise((resolve) => (release = resolve))),
    letLook: () => {
      hold = undefined;
      release();
    },
    addresses: (id: string) => {
      const { availability } = viewOf(stand.row(id));
      return availability.kind === "awake" ? availability.addresses.map(({ port }) => port) : availability.kind;
    },
  };
  stand.lifecycle().watch((change) => void ("container" in change && views.push(viewOf(change.container))));
  t.teardown(held.letLook);
  return held;
}

async function started(stand: LifecycleFixture, name: string, options: { app?: MemoryApp; onDemand?: boolean } = {}) {
  const { id, service } = await stand.publish({ name, config: { onDemand: options.onDemand ?? true }, ...(options.app ? { app: options.app } : {}) });
  await stand.start(id);
  await stand.clock.advance(1_000);
  return { id, service };
}

const portOf = (stand: LifecycleFixture, id: string) => stand.row(id).address?.port;

t.test("an end that is reported takes the address away before any inspection", async (t) => {
  const stand = await openHeldStand(t);
  const { id, service } = await started(stand, "web");
  stand.holdLooks();
  await stand.world.kill(service);
  await eventually("it is withdrawn", () => stand.addresses(id) === "coming");
  t.equal(stand.row(id).address, undefined, "also for who comes after a kill");
  t.match(stand.views.at(-1), { id, availability: { kind: "coming", step: "check" } }, "and gateways get it");
  stand.letLook();
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("an end that is none is found to be none, and the container is where it was", async (t) => {
  const stand = await openHeldStand(t);
  const { id, service } = await started(stand, "web");
  const port = portOf(stand, id);
  stand.world.tellEnd(service);
  await eventually("it is back", async () => (await stand.store().history.of(id)).at(-1)?.event === "foundRunning");
  t.match(stand.views.slice(-2), [{ availability: { kind: "coming" } }, { availability: { kind: "awake" } }]);
  t.same(stand.addresses(id), [port]);
  t.equal(stand.world.callCount(`deploy ${service}`), 2, "which found what runs");
});

t.test("the end of an earlier instance does not concern the one that runs", async (t) => {
  const stand = await openHeldStand(t);
  const { id, service } = await started(stand, "web");
  const moves = (await stand.store().history.of(id)).length;
  stand.world.tellEnd(service, "instance 0");
  await turns(20);
  t.equal((await stand.store().history.of(id)).length, moves);
});

t.test("an address that is given to a container is taken from the container that has it, before the new one answers", async (t) => {
  const stand = await openHeldStand(t);
  const { id, service } = await started(stand, "web");
  const port = portOf(stand, id) as number;
  // Its end makes no event, and the engine does not answer.
  stand.world.deaf = true;
  await stand.world.kill(service);
  stand.holdLooks();
  let answer = () => {};
  const slow: MemoryApp = { ...listening, run: ({ listen }) => void (answer = () => listen(undefined, port)) };
  const other = await stand.publish({ name: "other", app: slow, config: { onDemand: true } });
  stand.world.assigns.set(other.service, port);
  await stand.lifecycle().requestStart(other.id, USER);
  await eventually("taken", () => stand.addresses(id) === "coming");
  t.equal(stand.row(other.id).state, "STARTING", "which is still booting");
  t.equal(portOf(stand, other.id), port);
  answer();
  await stand.clock.advance(100);
  await stand.reaches(other.id, "STARTED");
  t.same([stand.addresses(id), stand.addresses(other.id)], ["coming", [port]]);
  stand.letLook();
  await stand.reaches(id, "SYSTEM_STOPPED");
  const order = stand.views.map(({ id: one, availability }) => `${one === id ? "web" : "other"} ${availability.kind}`);
  t.ok(order.lastIndexOf("web coming") < order.indexOf("other awake"), "no gateway ever has both");
});

t.test("one that is being stopped loses its address as well, and cannot come back with it", async (t) => {
  const stand = await openHeldStand(t);
  const { id, service } = await started(stand, "web");
  stand.lifecycle().gatewayJoined("gateway", stand.lifecycle().seq());
  await stand
    .lifecycle()
    .recordUse({ gateway: "gateway", seq: stand.lifecycle().seq(), uses: [{ id, open: 1, streams: 1, lastActive: stand.clock.now() }] });
  await stand.lifecycle().requestStop(id, USER);
  t.equal(stand.row(id).state, "PENDING_USER_STOP");
  t.ok(stand.row(id).address);
  await stand.world.kill(service);
  await eventually("taken", () => stand.row(id).address === undefined);
});

t.test("an end that is reported while the engine shows the container as running is inspected again", async (t) => {
  let ended = () => {};
  const driver = (real: Driver): Driver => ({
    ...real,
    deploy: async (spec, call) => {
      const deployment = await real.deploy(spec, call);
      // The answer is being sent, and with it the end.
      ended();
      await turns(3);
      return deployment;
    },
  });
  const stand = await openHeldStand(t, { driver });
  const { id, service } = await stand.publish({ name: "web", config: { onDemand: true } });
  ended = () => void stand.world.kill(service);
  await stand.lifecycle().requestStart(id, USER);
  t.match(await stand.reaches(id, "ERROR"), { fault: { code: "CONTAINER_CRASHED" }, address: undefined });
  t.notOk(stand.views.some(({ availability }) => availability.kind === "awake"), "it never counted as awake"); // prettier-ignore
});

t.test("what the list does not have is withdrawn before it is looked at", async (t) => {
  const stand = await openHeldStand(t);
  const { id, service } = await started(stand, "web");
  stand.world.deaf = true;
  await stand.world.kill(service);
  stand.holdLooks();
  t.not(stand.addresses(id), "coming");
  await stand.clock.advance(10_000);
  await eventually("withdrawn", () => stand.addresses(id) === "coming");
});

t.test("of two that the engine reports at one address, the one that lost it gets it back only by itself", async (t) => {
  const stand = await openHeldStand(t);
  const one = await started(stand, "one");
  const other = await started(stand, "other");
  const address = { host: "127.0.0.1", port: portOf(stand, other.id) as number };
  stand.overrides.set(one.service, { addresses: [address] });
  const driver = stand.world.claims;
  driver.set(one.service, address.port);
  stand.world.tellEnd(one.service);
  await eventually("checked", () => stand.row(one.id).fault?.code === "ENGINE_FAILED");
  t.equal(stand.row(one.id).state, "CHECKING");
  t.same(stand.addresses(other.id), [address.port]);
  driver.delete(one.service);
  stand.overrides.delete(one.service);
  await stand.clock.advance(60_000);
  await stand.reaches(one.id, "STARTED");
});

t.test("where an orchestrator gives addresses to others by itself, they count only while its events arrive", async (t) => {
  const stand = await openHeldStand(t, { driver: (driver) => ({ ...driver, watchedAddresses: true }) });
  const { id, service } = await started(stand, "web");
  const shown = () => {
    const { availability } = stand.lifecycle().viewOf(stand.row(id));
    return availability.kind === "awake" ? availability.addresses[0]?.port : availability.kind;
  };
  const port = portOf(stand, id);
  await stand.clock.advance(10_000);
  t.equal(shown(), port);
  stand.world.tell({ kind: "disconnected" });
  await turns();
  await stand.clock.advance(4_000);
  t.equal(shown(), port, "a watch that begins anew within a moment is none that broke");
  await stand.clock.advance(1_000);
  t.equal(shown(), "coming");
  t.equal(stand.views.at(-1)?.id, id, "and it is published");
  t.equal((await stand.lifecycle().wake(id, USER)).state, "STARTED", "a request waits, and asks for nothing");
  await stand.clock.advance(30_000);
  t.equal(shown(), "coming", "a list alone does not do");
  stand.world.tell({ kind: "connected" });
  await eventually("it is verified", () => shown() === port);
  t.equal(stand.world.callCount(`deploy ${service}`), 1, "by one list for all");
  await stand.restart();
  await eventually("it is verified anew", () => shown() === port);
});

t.test("no two rows can have one address", async (t) => {
  const stand = await openHeldStand(t);
  const one = await started(stand, "one");
  const other = await started(stand, "other");
  const { address } = stand.row(one.id);
  await t.rejects(() => stand.store().containers.update(other.id, { address }));
  t.notOk(stand.row(other.id).address?.port === address?.port);
});
