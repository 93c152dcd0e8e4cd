import t from "tap";
import type { MemoryApp } from "../../fixtures/memory-driver.ts";
import { mute } from "../../fixtures/memory-driver.ts";
import { turns } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { openLifecycleFixture, USER } from "./lifecycle-fixture.ts";

const ON_DEMAND = { onDemand: true, shutdownTimeoutMinutes: 5 };
const signal = () => new AbortController().signal;

t.test("after 10 s without readiness, a start says where its container listens, and what it should listen on", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish({ app: mute, config: ON_DEMAND });
  const says = async () => (await stand.lifecycle().startStatus(id, signal()))?.text;
  const views: unknown[] = [];
  stand.lifecycle().watch((change) => "container" in change && views.push(stand.lifecycle().viewOf(change.container).availability));
  const calls = () => stand.world.callCount(`listeners ${service}`);
  stand.world.listening.set(service, { sockets: [{ host: "127.0.0.1", port: 5353 }] });
  await stand.lifecycle().wake(id, USER);
  await eventually("it runs", () => stand.world.running().includes(service));
  await stand.clock.advance(9_000);
  t.equal(calls(), 0);
  t.equal(stand.lifecycle().startNote(id), undefined);
  await stand.clock.advance(1_500);
  const LOOPBACK = "The process listens on 127.0.0.1:5353; listen on 0.0.0.0.";
  await eventually("it is known", () => stand.lifecycle().startNote(id) === LOOPBACK);
  await eventually("the gateways know it too", () => (views.at(-1) as { note?: string }).note === LOOPBACK);
  t.strictSame(views.at(-1), { kind: "coming", step: "start", note: LOOPBACK });
  t.match(await says(), `nothing accepts connections on port 5353. ${LOOPBACK} The start continues`);
  t.match((await stand.lifecycle().explain(id, signal())).why, new RegExp(`${LOOPBACK.replaceAll(".", "\\.")}$`));

  stand.world.listening.set(service, { sockets: [{ host: "0.0.0.0", port: 80 }] });
  await stand.clock.advance(8_000);
  t.equal(stand.lifecycle().startNote(id), LOOPBACK);
  await stand.clock.advance(2_000);
  const PORT = "The process listens on port 80, but EXPOSE says 5353.";
  await eventually("it is known", () => stand.lifecycle().startNote(id) === PORT);
  t.equal(calls(), 2);

  stand.world.listening.delete(service);
  await stand.clock.advance(20_000);
  await eventually("another call", () => calls() === 3);
  await turns();
  t.equal(stand.lifecycle().startNote(id), "berth connects to port 5353, as EXPOSE says.");

  stand.world.listening.set(service, { sockets: [] });
  await stand.clock.advance(stand.row(id).since + 300_000 - stand.clock.now());
  const { fault } = await stand.reaches(id, "ERROR");
  t.match(fault, { code: "START_TIMED_OUT", message: /nothing accepts connections on port 5353\. No process of it listens on a port\.$/ });
  t.equal(stand.lifecycle().startNote(id), undefined);
});

t.test("an engine that fails to say where a container listens fails no start, and a worker is not checked", async (t) => {
  const stand = await openLifecycleFixture(t, {
    limits: { graceMs: 15_000 },
    driver: (driver) => ({ ...driver, listeners: (service) => (stand.world.calls.push(`listeners ${service}`), Promise.reject(new Error("no"))) }),
  });
  let boot = () => {};
  const slow: MemoryApp = { exposed: [5353], run: ({ listen }) => void (boot = () => listen()) };
  const web = await stand.publish({ app: slow, config: { ...ON_DEMAND, port: 80 }, name: "web" });
  const worker = await stand.publish({ app: mute, config: { ...ON_DEMAND, worker: true }, name: "worker" });
  for (const { id, service } of [web, worker]) {
    await stand.lifecycle().wake(id, USER);
    await eventually("it runs", () => stand.world.running().includes(service));
  }
  await stand.clock.advance(12_000);
  await eventually("it is known", () => stand.lifecycle().startNote(web.id) === "berth connects to port 80, as `port` in container.json says.");
  boot();
  await stand.clock.advance(1_000);
  await stand.reaches(web.id, "STARTED");
  t.equal(stand.world.callCount(`listeners ${worker.service}`), 0);
});

t.test("a slow start says how long earlier ones took", async (t) => {
  const stand = await openLifecycleFixture(t);
  let boot = () => {};
  const slow: MemoryApp = { exposed: [5353], run: ({ listen }) => void (boot = () => listen()) };
  const { id, service } = await stand.publish({ app: slow, config: ON_DEMAND });
  const start = async (ms: number) => {
    await stand.lifecycle().wake(id, USER);
    await eventually("it runs", () => stand.world.running().includes(service));
    await stand.clock.advance(ms);
    boot();
    await stand.clock.advance(100);
    await stand.reaches(id, "STARTED");
    await stand.stop(id);
  };
  const says = async (ms: number) => {
    await stand.lifecycle().wake(id, USER);
    await eventually("it runs", () => stand.world.running().includes(service));
    await stand.clock.advance(ms);
    const { why } = await stand.lifecycle().explain(id, signal());
    await stand.stop(id);
    return why;
  };
  t.notMatch(await says(15_000), /last/, "it has none");
  await start(95_000);
  t.notMatch(await says(9_000), /last/, "it may be a quick one");
  t.match(await says(15_000), /Its last start took 95 s\.$/);
  await start(40_000);
  t.match(await says(15_000), /Its last 2 starts took 40 to 95 s\.$/);
});
