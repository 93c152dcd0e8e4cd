import { isDeepStrictEqual } from "node:util";
import t, { type Test } from "tap";
import { viewOf } from "../../../control/lifecycle/changes.ts";
import type { OwnedAddress } from "../../../control/model/entities.ts";
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

const portOf = (stand: LifecycleFixture, id: string) => stand.row(id).addresses[0]?.port;

t.test("an end that is reported takes the address away before any inspection", async (t) => {
  const stand = await openHeldStand(t);
  const { id, service } = await started(stand, "web");
  stand.holdLooks();
  await stand.world.kill(service);
  await eventually("it is withdrawn", () => stand.addresses(id) === "coming");
  t.equal(stand.row(id).addresses[0], undefined, "also for who comes after a kill");
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

t.test("a start that is cancelled before its address is stored takes the address from others too", async (t) => {
  let report: (() => void) | undefined;
  const driver = (real: Driver): Driver => ({
    ...real,
    deploy: (spec, call) => real.deploy(spec, { ...call, onAddresses: (...args) => void (report = () => call.onAddresses?.(...args)) }),
  });
  const stand = await openHeldStand(t, { driver });
  const { id, service } = await started(stand, "web");
  const port = portOf(stand, id) as number;
  // Its end makes no event, and the engine does not answer.
  stand.world.deaf = true;
  await stand.world.kill(service);
  stand.holdLooks();
  const other = await stand.publish({ name: "other", app: { ...listening, run: () => {} }, config: { onDemand: true } });
  stand.world.assigns.set(other.service, port);
  await stand.lifecycle().requestStart(other.id, USER);
  const reportAddress = await eventually("the address to be assigned", () => report);

  // The stop and then the address wait for another transaction.
  const { promise: written, resolve: endWrite } = Promise.withResolvers<void>();
  const write = stand.store().transaction(() => written);
  const stop = stand.lifecycle().requestStop(other.id, USER);
  await turns();
  reportAddress();
  await turns();
  t.equal(stand.row(other.id).state, "STARTING");
  t.equal(stand.addresses(id).toString(), String(port), "nothing is stored yet");
  endWrite();
  await Promise.all([write, stop]);

  await eventually("taken", () => stand.addresses(id) === "coming");
  t.same(stand.row(other.id).addresses, [], "and the cancelled one gets no requests there");
  stand.letLook();
  await stand.reaches(other.id, "USER_STOPPED");
  await stand.reaches(id, "SYSTEM_STOPPED");
  t.notOk(stand.views.some((view) => view.id === other.id && view.availability.kind === "awake"));
});

t.test("an address that is reported after the start was aborted is taken from others too", async (t) => {
  let report: (() => void) | undefined;
  let endCall = () => {};
  const driver = (real: Driver): Driver => ({
    ...real,
    deploy: async (spec, call) => {
      if (!spec.service.includes("other")) return real.deploy(spec, call);
      report = () => call.onAddresses?.([{ host: "127.0.0.1", port }], "late", true);
      // The engine goes on after the abort.
      await new Promise<void>((resolve) => (endCall = resolve));
      call.signal.throwIfAborted();
      throw new Error("it was not aborted");
    },
  });
  const stand = await openHeldStand(t, { driver });
  const { id, service } = await started(stand, "web");
  const port = portOf(stand, id) as number;
  stand.world.deaf = true;
  await stand.world.kill(service);
  stand.holdLooks();
  const other = await stand.publish({ name: "other", config: { onDemand: true } });
  await stand.lifecycle().requestStart(other.id, USER);
  const reportAddress = await eventually("the deploy", () => report);
  await stand.lifecycle().requestStop(other.id, USER);
  t.equal(stand.addresses(id).toString(), String(port));
  reportAddress();
  await eventually("taken", () => stand.addresses(id) === "coming");
  t.same(stand.row(other.id).addresses, [], "and the aborted one gets no requests there");
  endCall();
  stand.letLook();
  await stand.reaches(other.id, "USER_STOPPED");
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
  t.ok(stand.row(id).addresses[0]);
  await stand.world.kill(service);
  await eventually("taken", () => stand.row(id).addresses[0] === undefined);
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
  t.match(await stand.reaches(id, "ERROR"), { fault: { code: "CONTAINER_CRASHED" }, addresses: { length: 0 } });
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

t.test("an orchestrator behind a spawner may turn out to be such a one, and stays one", async (t) => {
  const stand = await openHeldStand(t);
  const { id } = await started(stand, "web");
  const shown: unknown[] = [];
  const lookAt = ({ availability }: ContainerView) =>
    void shown.push(availability.kind === "awake" ? availability.addresses[0]?.port : availability.kind);
  const lifecycle = stand.lifecycle();
  lifecycle.watch((change) => void ("container" in change && change.container.id === id && lookAt(lifecycle.viewOf(change.container))));
  const port = portOf(stand, id);
  stand.world.tell({ kind: "connected", watchedAddresses: true });
  await eventually("requests wait until a list has shown the address", () => isDeepStrictEqual(shown, ["coming", port]));
  stand.world.tell({ kind: "disconnected" });
  await turns();
  await stand.clock.advance(5_000);
  t.equal(shown.at(-1), "coming");
  stand.world.tell({ kind: "connected", watchedAddresses: true });
  await eventually("it is verified anew", () => shown.at(-1) === port);
});

t.test("no two rows can have one address", async (t) => {
  const stand = await openHeldStand(t);
  const one = await started(stand, "one");
  const other = await started(stand, "other");
  const { addresses } = stand.row(one.id);
  await t.rejects(() => stand.store().containers.update(other.id, { addresses }));
  t.notOk(stand.row(other.id).addresses[0]?.port === addresses[0]?.port);
});

/** A port at which nothing listens; each is another one. */
const spare = (nth: number) => 60_000 + nth;

/** Whether the feed ever had a gateway wait for it since `from`. */
const heldSince = (stand: { views: ContainerView[] }, id: string, from: number) =>
  stand.views.slice(from).some((view) => view.id === id && view.availability.kind !== "awake");

t.test("a container is in the feed with all its addresses, and the loss of one leaves the others", async (t) => {
  const stand = await openHeldStand(t);
  const { id, service } = await stand.publish({ config: { onDemand: true } });
  stand.world.replicas.set(service, [spare(1), spare(2)]);
  await stand.start(id);
  await stand.clock.advance(1_000);
  const port = portOf(stand, id);
  t.same(stand.addresses(id), [port, spare(1), spare(2)]);
  const from = stand.views.length;

  stand.world.replicas.set(service, [spare(2)]);
  stand.world.tell({ kind: "changed", service, container: id });
  await eventually("one is gone", () => isDeepStrictEqual(stand.addresses(id), [port, spare(2)]));

  stand.world.deaf = true;
  stand.world.replicas.set(service, []);
  stand.holdLooks();
  await stand.clock.advance(10_000);
  await eventually("another one is gone, by the list alone", () => isDeepStrictEqual(stand.addresses(id), [port]));
  stand.letLook();

  stand.world.replicas.set(service, [spare(3)]);
  await stand.clock.advance(10_000);
  await eventually("a new one is found", () => isDeepStrictEqual(stand.addresses(id), [port, spare(3)]));
  t.notOk(heldSince(stand, id, from), "no request waited meanwhile");
  t.equal(stand.world.callCount(`deploy ${service}`), 1, "and nothing was deployed anew");
  await stand.restart();
  t.same(stand.addresses(id), [port, spare(3)], "both are there for who comes after a kill");
});

t.test("the end of one instance takes away the addresses of that instance only", async (t) => {
  const stand = await openHeldStand(t);
  const { id, service } = await started(stand, "web");
  const own = stand.row(id).addresses[0] as OwnedAddress;
  await stand.store().containers.update(id, { addresses: [own, { ...own, port: spare(1), instance: "other" }] });
  stand.holdLooks();
  stand.world.tellEnd(service, "other");
  await eventually("it is withdrawn", () => isDeepStrictEqual(stand.addresses(id), [own.port]));
  t.equal(stand.row(id).state, "STARTED");
});

t.test("an end of an unknown instance takes all addresses away, and so does one where the container's instance is unknown", async (t) => {
  const stand = await openHeldStand(t);
  const { id, service } = await started(stand, "web");
  stand.holdLooks();
  stand.world.tell({ kind: "changed", service, container: id, ended: { instance: undefined } });
  await eventually("it is withdrawn", () => stand.addresses(id) === "coming");
  stand.letLook();
  await stand.reaches(id, "STARTED");

  const { host, port } = stand.row(id).addresses[0] as OwnedAddress;
  await stand.store().containers.update(id, { addresses: [{ host, port }] });
  stand.holdLooks();
  stand.world.tellEnd(service, "other");
  await eventually("it is withdrawn again", () => stand.addresses(id) === "coming");
});

t.test("addresses that are given to a container are taken from each container that has one, which keeps its others", async (t) => {
  const stand = await openHeldStand(t);
  const several = await stand.publish({ name: "several", config: { onDemand: true } });
  stand.world.replicas.set(several.service, [spare(1)]);
  await stand.start(several.id);
  const single = await started(stand, "single");
  const port = portOf(stand, single.id) as number;
  const kept = portOf(stand, several.id);
  t.same(stand.addresses(several.id), [kept, spare(1)]);
  stand.world.deaf = true;
  await stand.world.kill(single.service);
  stand.world.replicas.set(several.service, []);
  stand.holdLooks();

  let answer = () => {};
  const slow: MemoryApp = { ...listening, run: ({ listen }) => void (answer = () => listen(undefined, port)) };
  const taker = await stand.publish({ name: "taker", app: slow, config: { onDemand: true } });
  stand.world.assigns.set(taker.service, port);
  stand.world.replicas.set(taker.service, [spare(1)]);
  await stand.lifecycle().requestStart(taker.id, USER);
  await eventually("both are taken", () => stand.addresses(single.id) === "coming" && isDeepStrictEqual(stand.addresses(several.id), [kept]));
  t.match(stand.row(taker.id), { state: "STARTING", addresses: [{ port }, { port: spare(1) }] }, "by one that is still booting");
  answer();
  await stand.clock.advance(100);
  await stand.reaches(taker.id, "STARTED");
  t.same(stand.addresses(taker.id), [port, spare(1)]);
  t.same(stand.addresses(several.id), [kept]);
  const current = new Map<string, readonly number[]>();
  for (const { id, availability } of stand.views) {
    current.set(id, availability.kind === "awake" ? availability.addresses.map((one) => one.port) : []);
    const all = [...current.values()].flat();
    t.equal(new Set(all).size, all.length, "no gateway ever has one address of two containers");
  }
  stand.letLook();
  await stand.reaches(single.id, "SYSTEM_STOPPED");
});

t.test("of two that the engine reports at one of several addresses, the one that lost it keeps its others", async (t) => {
  const stand = await openHeldStand(t);
  const one = await started(stand, "one");
  const other = await started(stand, "other");
  const [own, taken] = [portOf(stand, one.id), portOf(stand, other.id) as number];
  stand.world.replicas.set(one.service, [taken]);
  await stand.clock.advance(30_000);
  t.same([stand.addresses(one.id), stand.addresses(other.id)], [[own], [taken]]);
  await stand.world.kill(other.service);
  await stand.reaches(other.id, "SYSTEM_STOPPED");
  await stand.clock.advance(60_000);
  await eventually("it is given the address then", () => isDeepStrictEqual(stand.addresses(one.id), [own, taken]));
});
