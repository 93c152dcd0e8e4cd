import t, { type Test } from "tap";
import { systemClock } from "../../lib/clock.ts";
import type { Driver, DriverEvent, Host, Spec } from "../../drivers/driver.ts";
import { hostsDriver } from "../../drivers/hosts.ts";
import { MEMORY_APPS } from "../fixtures/memory-apps.ts";
import { openMemoryWorld } from "../fixtures/memory-driver.ts";
import { call, conformance, labelsFor, rejectsWith, text } from "./conformance.ts";
import { BACKENDS } from "./conformance/backends.ts";
import { turns } from "../fixtures/clock.ts";
import { eventually } from "../fixtures/eventually.ts";

/** Two orchestrators that know nothing of each other, and the one driver before them. */
function stand(t: Test) {
  const open = () => openMemoryWorld(systemClock());
  const worlds = { cvm: open(), datagrok: open() };
  for (const world of Object.values(worlds)) {
    for (const [name, app] of Object.entries(MEMORY_APPS)) world.apps.set(name, app);
    t.teardown(() => world.close());
  }
  const driver = (): Driver => hostsDriver({ cvm: worlds.cvm.open(), datagrok: worlds.datagrok.open(), apart: true });
  const running = () => [worlds.cvm.running(), worlds.datagrok.running()];
  return { ...worlds, driver, running };
}

const specFor = (service: string, host: Host | undefined, generation = 1, image = "memory:tcpOnly"): Spec => {
  const sizes = { cpu: 1, memoryMb: 1, shmMb: 0, storageGb: 0, gpu: 0 };
  return { service, host, image, labels: labelsFor(service, generation), env: {}, ...sizes, port: 5432, readiness: { kind: "port" }, graceMs: 10 };
};

t.test("two hosts together keep the contract of one", async (t) => {
  const { cvm, datagrok, driver } = stand(t);
  await conformance(t, {
    open: driver,
    image: async (name) => ({ ref: name }),
    unknown: async () => ({ ref: "unknown" }),
    kill: (service) => cvm.kill(service),
    left: async (prefix) => [...cvm.left(prefix), ...datagrok.left(prefix)],
    vanish: async (service) => cvm.vanish(service),
    move: (service) => cvm.moveAway(service),
    way: async () => ({
      driver: driver(),
      cut: () => {},
      away: async () => {
        cvm.away = datagrok.away = true;
      },
      back: async () => {
        cvm.away = datagrok.away = false;
      },
    }),
    ...BACKENDS.memory,
  });
});

t.test("a container runs on the host that it is for, and is found and ended whichever that is", async (t) => {
  const { driver: open, running } = stand(t);
  const driver = open();
  await driver.deploy(specFor("plugin", "cvm"), call());
  await driver.deploy(specFor("neither", undefined), call());
  await driver.deploy({ ...specFor("part", "datagrok", 1, "memory:worker"), port: undefined, readiness: { kind: "running" } }, call());
  t.strictSame(running(), [["plugin", "neither"], ["part"]]);
  const facts = await driver.list(call());
  t.strictSame(facts.map(({ service }) => service).toSorted(), ["neither", "part", "plugin"]);
  t.match(await driver.inspect("part", call()), { service: "part", running: true });
  t.match(await driver.inspect("plugin", call()), { service: "plugin", running: true });
  t.match(await text(driver.logs("part", { tail: 10 }, call())), /worker began/);
  t.equal(await text(driver.logs("unknown", { tail: 10 }, call())), "");
  await driver.destroy("part", call());
  t.strictSame(running(), [["plugin", "neither"], []]);
  t.equal(await driver.inspect("part", call()), undefined);
});

t.test("what is for another host from now on runs there alone; a foreign owner's keeps its name", async (t) => {
  const { cvm, driver: open, running } = stand(t);
  const driver = open();
  await driver.deploy(specFor("web", "cvm"), call());
  await driver.deploy(specFor("web", "datagrok", 2), call());
  t.strictSame(running(), [[], ["web"]]);
  await driver.deploy(specFor("web", "cvm", 3), call());
  t.strictSame(running(), [["web"], []]);
  cvm.begin("theirs", { ...labelsFor("theirs"), store: "another" });
  await rejectsWith(t, "SPEC_REFUSED", driver.deploy(specFor("theirs", "datagrok"), call()));
  t.strictSame(running(), [["web", "theirs"], []]);
});

t.test("on hosts that share one orchestrator each starts its own way, and nothing is there twice", async (t) => {
  const { cvm } = stand(t);
  const [one, other] = [cvm.open(), cvm.open()];
  const started: string[] = [];
  const noting = (host: Host, driver: Driver): Driver => ({
    ...driver,
    deploy: (spec, of) => {
      started.push(`${spec.service} by ${host}`);
      return driver.deploy(spec, of);
    },
  });
  const driver = hostsDriver({ cvm: noting("cvm", one), datagrok: noting("datagrok", other), apart: false });
  await driver.deploy(specFor("plugin", "cvm"), call());
  await driver.deploy(specFor("part", "datagrok"), call());
  t.strictSame(started, ["plugin by cvm", "part by datagrok"]);
  t.strictSame((await driver.list(call())).map(({ service }) => service).toSorted(), ["part", "plugin"]);
  const {
    addresses: [address],
  } = await driver.deploy(specFor("part", "datagrok"), call());
  t.strictSame((await driver.inspect("part", call()))?.addresses[0], address);
  t.equal(cvm.callCount("destroy part"), 0, "at the second call it is the one that runs");
});

t.test("a loss lasts until both hosts are connected again", async (t) => {
  const { cvm, datagrok, driver } = stand(t);
  const kinds: string[] = [];
  const over = new AbortController();
  const listening = (async () => {
    for await (const event of driver().events({ signal: over.signal })) kinds.push(event.kind === "changed" ? event.service : event.kind);
  })();
  const reported = (...expected: string[]) => eventually(expected.join(), () => kinds.join() === expected.join());
  await reported("connected");
  kinds.length = 0;
  cvm.tell({ kind: "disconnected" });
  datagrok.tell({ kind: "disconnected" });
  await reported("disconnected");
  datagrok.tell({ kind: "connected" });
  datagrok.tell({ kind: "changed", service: "after", container: "c" });
  await reported("disconnected", "after");
  cvm.tell({ kind: "connected" });
  await reported("disconnected", "after", "connected");
  datagrok.tell({ kind: "connected" });
  await reported("disconnected", "after", "connected", "connected");
  over.abort();
  await listening;
});

t.test("it is connected once both hosts are", async (t) => {
  const { cvm: one, datagrok: other } = stand(t);
  const connect = Promise.withResolvers<void>();
  const [cvm, datagrok] = [one.open(), other.open()];
  const slow: Driver = {
    ...datagrok,
    events: async function* (call) {
      yield { kind: "changed", service: "before", container: "c" };
      await connect.promise;
      yield* datagrok.events(call);
    },
  };
  const kinds: string[] = [];
  const over = new AbortController();
  const listening = (async () => {
    for await (const event of hostsDriver({ cvm, datagrok: slow, apart: true }).events({ signal: over.signal })) kinds.push(event.kind);
  })();
  await eventually("an event of the host that is not connected", () => kinds.length > 0);
  await turns();
  t.strictSame(kinds, ["changed"], "an end at that host may be missed");
  connect.resolve();
  await eventually("both to be connected", () => kinds.join() === "changed,connected");
  over.abort();
  await listening;
});

t.test("where one host gives addresses to others by itself, both are reported so", async (t) => {
  const { cvm, datagrok, driver } = stand(t);
  const events: DriverEvent[] = [];
  const over = new AbortController();
  const listening = (async () => {
    for await (const event of driver().events({ signal: over.signal })) events.push(event);
  })();
  await eventually("both are connected", () => events.length === 1);
  datagrok.tell({ kind: "connected", watchedAddresses: true });
  cvm.tell({ kind: "connected" });
  await eventually("both again", () => events.length === 3);
  const watched = { kind: "connected", watchedAddresses: true };
  t.strictSame(events.slice(1), [watched, watched]);
  over.abort();
  await listening;
});

t.test("the events of both are reported, until the listener ends or one fails", async (t) => {
  const { cvm, datagrok, driver } = stand(t);
  const events: DriverEvent[] = [];
  const over = new AbortController();
  const listening = (async () => {
    for await (const event of driver().events({ signal: over.signal })) events.push(event);
  })();
  const isReported = (name: string) => async () => events.some((event) => event.kind === "changed" && event.service === name);
  await eventually("both are connected", async () => events.some(({ kind }) => kind === "connected"));
  cvm.begin("one", labelsFor("one"));
  await eventually("the first is reported", isReported("one"));
  datagrok.begin("other", labelsFor("other"));
  await eventually("the second is reported", isReported("other"));
  for (let round = 0; round < 100; round++) datagrok.begin(`many-${round}`, labelsFor("many"));
  await eventually("none is lost", isReported("many-99"));
  t.equal(events.length, 103);
  over.abort(new Error("enough"));
  await listening;

  datagrok.away = true;
  const failing = (async () => {
    for await (const _ of driver().events(call()));
  })();
  await rejectsWith(t, "ENGINE_UNREACHABLE", failing);
  datagrok.away = false;
  for await (const event of driver().events(call())) {
    t.equal(event.kind, "connected");
    break;
  }
});

t.test("while one is away, its services are not reported as gone, and the other's go on", async (t) => {
  const { cvm, datagrok, driver: open, running } = stand(t);
  const driver = open();
  await driver.deploy(specFor("plugin", "cvm"), call());
  await driver.deploy(specFor("part", "datagrok"), call());
  datagrok.away = true;
  t.match(await driver.inspect("plugin", call()), { running: true });
  t.equal(await text(driver.logs("plugin", { tail: 1 }, call())), "");
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.inspect("part", call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.list(call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", text(driver.logs("part", { tail: 1 }, call())));
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.deploy(specFor("part", "cvm", 2), call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.destroy("plugin", call()));
  t.strictSame(running(), [[], ["part"]], "the one that could be destroyed is, and there is no second of the other");
  datagrok.away = false;
  cvm.away = true;
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.destroy("part", call()));
  t.strictSame(running(), [[], []]);
});
