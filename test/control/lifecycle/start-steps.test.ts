import t from "tap";
import {
  createStartSteps,
  describeListeners,
  describeStep,
  type ExpectedPort,
  expectedPorts,
  type ListenerFinding,
  type StartStep,
} from "../../../control/lifecycle/start-steps.ts";
import type { Address, Readiness, Spec } from "../../../drivers/driver.ts";
import { turns } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { type MemoryApp, mute } from "../../fixtures/memory-driver.ts";
import { openLifecycleFixture, USER } from "./lifecycle-fixture.ts";

const http = (port?: number): Readiness => ({ kind: "http", path: "/health", port, intervalMs: 1, timeoutMs: 1 });
const spec = (readiness: Readiness, port: number | undefined = 8080) => ({ port, graceMs: 3_000, readiness });
const plain = { sockets: [{ host: "0.0.0.0", port: 21_000 }], portVariable: 21_000 };

const ROWS: [step: Partial<StartStep>, sentence: string][] = [
  [{ spec: spec({ kind: "port" }) }, "It has been starting for 12 s, and nothing accepts connections on port 8080."],
  [{ spec: spec({ kind: "port" }), finding: plain }, "It has been starting for 12 s, and nothing accepts connections on port 21000."],
  [
    { spec: spec({ kind: "port" }), unresolved: { host: "x.test", code: "ENOTFOUND" } },
    "It has been starting for 12 s, and its name x.test cannot be resolved (ENOTFOUND): check the DNS of berth's machine.",
  ],
  [{ spec: spec(http()) }, "It has been starting for 12 s, and GET /health on port 8080 has not answered with 2xx or 3xx."],
  [{ spec: spec(http(9000)) }, "It has been starting for 12 s, and GET /health on port 9000 has not answered with 2xx or 3xx."],
  [{ spec: spec(http()), healthStatus: 503 }, "It has been starting for 12 s, and GET /health on port 8080 answers with 503, not with 2xx or 3xx."],
  [{ spec: spec({ kind: "healthcheck" }) }, "It has been starting for 12 s, and its HEALTHCHECK has not succeeded."],
  [{ spec: spec({ kind: "running" }) }, "It has been starting for 12 s, and counts as started after 3 s."],
  [{ launchedOn: undefined as never }, "The container engine has been creating it for 12 s."],
];

t.test("what a start waits for is a sentence", async (t) => {
  for (const [step, sentence] of ROWS) t.equal(describeStep({ since: 0, launchedOn: 0, ...step }, 12_000), sentence);
});

t.test("a note that changes is reported once, and ends with its start", async (t) => {
  const noted: string[] = [];
  const steps = createStartSteps({ now: () => 0, noted: (id) => noted.push(id) });
  const step = steps.begin("a");
  step.prepared(spec({ kind: "port" }) as Spec, { expected: [{ port: 8080, source: "EXPOSE" }], earlierMs: [] });
  step.found({ sockets: [] });
  step.found({ sockets: [] });
  t.equal(steps.noteOf("a"), "No process of it listens on a port.");
  t.strictSame(noted, ["a"]);
  step.found({ sockets: [{ host: "0.0.0.0", port: 8080 }] });
  t.equal(steps.noteOf("a"), undefined);
  t.strictSame(noted, ["a", "a"]);
  step.end();
  t.equal(steps.noteOf("a"), undefined);
});

const at = (...sockets: string[]): { sockets: Address[] } => ({
  sockets: sockets.map((text) => ({ host: text.slice(0, text.lastIndexOf(":")), port: Number(text.slice(text.lastIndexOf(":") + 1)) })),
});
const exposed = (port: number): ExpectedPort[] => [{ port, source: "EXPOSE" }];
const inJson = (port: number): ExpectedPort[] => [{ port, source: "`port` in container.json" }];
const withHealth = [...exposed(5001), { port: 8000, source: "`health` in container.json" }];

const LISTENER_ROWS: [why: string, expected: ExpectedPort[], finding: ListenerFinding, sentence: string | undefined][] = [
  ["loopback", exposed(5000), at("127.0.0.1:5000"), "The process listens on 127.0.0.1:5000; listen on 0.0.0.0."],
  ["loopback of IPv6", exposed(5000), at("::1:5000"), "The process listens on [::1]:5000; listen on 0.0.0.0."],
  ["both loopbacks", exposed(5000), at("127.0.0.1:5000", "::1:5000"), "The process listens on 127.0.0.1:5000 and [::1]:5000; listen on 0.0.0.0."],
  ["loopback, and another port", exposed(5000), at("127.0.0.1:5000", "0.0.0.0:9"), "The process listens on 127.0.0.1:5000; listen on 0.0.0.0."],
  ["another port", exposed(5001), at("0.0.0.0:5000"), "The process listens on port 5000, but EXPOSE says 5001: change one of them."],
  ["another port by IPv6", exposed(5001), at(":::5000"), "The process listens on port 5000, but EXPOSE says 5001: change one of them."],
  ["two families", exposed(5001), at("0.0.0.0:5000", ":::5000"), "The process listens on port 5000, but EXPOSE says 5001: change one of them."],
  [
    "of container.json",
    inJson(5001),
    at("0.0.0.0:5000"),
    "The process listens on port 5000, but `port` in container.json says 5001: change one of them.",
  ],
  ["two ports", exposed(5001), at("0.0.0.0:80", "0.0.0.0:443"), "The process listens on ports 80 and 443, but EXPOSE says 5001: change one of them."],
  [
    "many",
    exposed(9),
    at("0.0.0.0:1", "0.0.0.0:2", "0.0.0.0:3", "0.0.0.0:4"),
    "The process listens on ports 1, 2, 3 and 1 more, but EXPOSE says 9: change one of them.",
  ],
  ["one of them on loopback", exposed(9), at("127.0.0.1:1", "0.0.0.0:2"), "The process listens on port 2, but EXPOSE says 9: change one of them."],
  [
    "loopback and another port",
    exposed(5001),
    at("127.0.0.1:5000"),
    "The process listens on 127.0.0.1:5000, but EXPOSE says 5001; listen on 0.0.0.0:5001.",
  ],
  [
    "of a plain process",
    exposed(5001),
    { ...at("127.0.0.1:5000"), portVariable: 34567 },
    "The process listens on port 5000, but the variable PORT says 34567: listen on that port.",
  ],
  ["a plain process at its port", exposed(5001), { ...at("127.0.0.1:34567"), portVariable: 34567 }, undefined],
  ["a plain process by IPv6", exposed(5001), { ...at(":::34567"), portVariable: 34567 }, undefined],
  [
    "a plain process by IPv6 alone",
    exposed(5001),
    { ...at("::1:34567"), portVariable: 34567 },
    "The process listens on [::1]:34567; listen on 0.0.0.0.",
  ],
  ["nowhere", exposed(5001), at(), "No process of it listens on a port."],
  ["not known", exposed(5001), "unknown", "berth connects to port 5001, as EXPOSE says."],
  ["as expected", exposed(5001), at("0.0.0.0:5001"), undefined],
  ["as expected by IPv6", exposed(5001), at(":::5001"), undefined],
  ["on its own address", exposed(5001), at("172.17.0.2:5001"), undefined],
  ["no port is expected", [], at("127.0.0.1:5000"), undefined],
  ["both ports", withHealth, at("0.0.0.0:5001", "0.0.0.0:8000"), undefined],
  [
    "its port alone",
    withHealth,
    at("0.0.0.0:5001"),
    "The process listens on port 5001, but `health` in container.json says 8000: change one of them.",
  ],
  ["its health port alone", withHealth, at("0.0.0.0:8000"), "The process listens on port 8000, but EXPOSE says 5001: change one of them."],
];

t.test("what a container listens on is compared with what it is expected to listen on", async (t) => {
  for (const [why, expected, finding, sentence] of LISTENER_ROWS) t.equal(describeListeners(expected, finding), sentence, why);
});

t.test("the ports of a start are named with what says them", async (t) => {
  const port = { kind: "port" } as const;
  const health = (port?: number) => ({ kind: "http", path: "/", port, intervalMs: 1, timeoutMs: 1 }) as const;
  t.strictSame(expectedPorts({ port: 5001, readiness: port }, { port: undefined, exposed: [5001] }), exposed(5001));
  t.strictSame(expectedPorts({ port: 5001, readiness: port }, { port: 5001, exposed: [80] }), inJson(5001));
  t.strictSame(
    expectedPorts({ port: 5001, readiness: port }, { port: 5001, exposed: [5001] }),
    exposed(5001),
    "a Dockerfile's EXPOSE is stored as port",
  );
  const [first] = expectedPorts({ port: 8888, readiness: port }, { port: 8888, exposed: [5000, 8888] });
  t.match(first, { port: 8888, source: /EXPOSE/ });
  t.strictSame(expectedPorts({ port: 5001, readiness: health(8000) }, { port: undefined, exposed: [5001] }), withHealth);
  t.strictSame(expectedPorts({ port: 8000, readiness: health(8000) }, { port: undefined, exposed: [] }), withHealth.slice(1));
  t.strictSame(expectedPorts({ port: undefined, readiness: { kind: "running" } }, { port: undefined, exposed: [] }), []);
});

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
  const PORT = "The process listens on port 80, but EXPOSE says 5353: change one of them.";
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
  t.match(fault, {
    code: "START_TIMED_OUT",
    message: /within 300 s: nothing accepts connections on port 5353\. No process of it listens on a port\. If it only needs longer, raise/,
  });
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
