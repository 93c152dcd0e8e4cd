import { randomUUID } from "node:crypto";
import t from "tap";
import { labelsFor, rejectsWith, call } from "../../conformance.ts";
import type { Spec } from "../../../../drivers/driver.ts";
import { openStand, specBody } from "./fixture.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { pause } from "../../../fixtures/clock.ts";

const codeOf = (text: string) => (JSON.parse(text) as { code?: string }).code;

t.test("a hundred who ask for the same deploy have one made, and all get it", async (t) => {
  const { ask, world } = await openStand(t);
  const answers = await Promise.all(Array.from({ length: 100 }, () => ask("POST", "/deploy/cvm/web/1", { body: specBody("web") })));
  t.ok(answers.every(({ status }) => status === 200));
  t.equal(new Set(answers.map(({ text }) => (JSON.parse(text) as { port: number }).port)).size, 1);
  t.strictSame(world.left(""), ["web"]);
  // Those who came after it was made have it found again.
  t.ok(world.callCount("deploy web") < 100, `${world.callCount("deploy web")} deploys`);
});

t.test("a client that gave up undoes nothing, and who asks again joins", async (t) => {
  const { ask, world } = await openStand(t);
  const left = new AbortController();
  const booted = Promise.withResolvers<void>();
  world.apps.set("slow", { exposed: [5353], run: ({ listen }) => void booted.promise.then(() => listen()) });
  const body = specBody("slow", 1, { image: "memory:slow" });
  const first = ask("POST", "/deploy/cvm/slow/1", { body, signal: left.signal });
  first.catch(() => {});
  await eventually("it runs", () => world.running().includes("slow"));
  left.abort();
  await t.rejects(first);
  const second = ask("POST", "/deploy/cvm/slow/1", { body });
  await eventually("it still runs", async () => JSON.parse((await ask("GET", "/services/slow")).text).running === true);
  t.equal(world.callCount("deploy slow"), 1);
  booted.resolve();
  t.equal((await second).status, 200);
  t.equal(world.callCount("deploy slow"), 1);
});

t.test("a newer definition replaces the one in progress, whose clients get an error", async (t) => {
  const { ask, world } = await openStand(t);
  const old = ask("POST", "/deploy/cvm/web/1", { body: specBody("web", 1, { image: "memory:mute" }) });
  await eventually("the old one runs", () => world.running().includes("web"));
  const next = await ask("POST", "/deploy/cvm/web/1", { body: specBody("web", 2) });
  t.equal(next.status, 200);
  const replaced = await old;
  t.equal(replaced.status, 409);
  t.equal(codeOf(replaced.text), "DEPLOY_SUPERSEDED");
  t.match(JSON.parse((await ask("GET", "/services/web")).text), { labels: { generation: 2 } });
});

t.test("an older definition, and a foreign owner's, are refused while one is in progress", async (t) => {
  const { ask, world } = await openStand(t);
  const under = ask("POST", "/deploy/cvm/web/1", { body: specBody("web", 2, { image: "memory:mute" }) });
  await eventually("it runs", () => world.running().includes("web"));
  for (const [name, body] of Object.entries({ older: specBody("web", 1), foreign: specBody("another-container", 3) })) {
    const refused = await ask("POST", "/deploy/cvm/web/1", { body });
    t.equal(refused.status, 409, name);
    t.equal(codeOf(refused.text), "DEPLOY_UNDER_WAY");
  }
  t.equal((await ask("DELETE", "/services/web")).status, 200);
  t.equal(codeOf((await under).text), "DEPLOY_SUPERSEDED");
  t.strictSame(world.left(""), []);
});

t.test("a destroy that names an owner spares another's service, and its deploy in progress", async (t) => {
  const { ask, world } = await openStand(t);
  const path = (owner: string) => `/services/web?store=a-store&container=${owner}`;
  const under = ask("POST", "/deploy/cvm/web/1", { body: specBody("web", 1, { image: "memory:mute" }) });
  await eventually("it runs", () => world.running().includes("web"));
  t.equal(codeOf((await ask("DELETE", path("another"))).text), "SPEC_REFUSED");
  t.strictSame(world.running(), ["web"]);
  t.equal((await ask("DELETE", path("web"))).status, 200);
  t.equal(codeOf((await under).text), "DEPLOY_SUPERSEDED");
  await ask("POST", "/deploy/cvm/web/1", { body: specBody("web", 2) });
  t.equal(codeOf((await ask("DELETE", path("another"))).text), "SPEC_REFUSED");
  t.strictSame(world.running(), ["web"]);
  t.equal((await ask("DELETE", path("web"))).status, 200);
  t.strictSame(world.left(""), []);
});

t.test("a destroy that names a generation spares another", async (t) => {
  const { ask, world } = await openStand(t);
  await ask("POST", "/deploy/cvm/web/1", { body: specBody("web", 2) });
  t.equal((await ask("DELETE", "/services/web?generation=1")).status, 200);
  t.strictSame(world.left(""), ["web"]);
  t.equal((await ask("DELETE", "/services/web?generation=2")).status, 200);
  t.strictSame(world.left(""), []);
  const under = ask("POST", "/deploy/cvm/web/1", { body: specBody("web", 4, { image: "memory:mute" }) });
  await eventually("it runs", () => world.running().includes("web"));
  t.equal((await ask("DELETE", "/services/web?generation=3")).status, 200);
  t.strictSame(world.running(), ["web"]);
  await ask("DELETE", "/services/web");
  await under;
});

t.test("a deploy that comes after its own calling off makes nothing, and the next one is another call", async (t) => {
  const { ask, world } = await openStand(t);
  t.equal((await ask("DELETE", "/services/web?generation=1&call=first")).status, 200);
  const late = await ask("POST", "/deploy/cvm/web/1?call=first", { body: specBody("web") });
  t.equal(codeOf(late.text), "DEPLOY_SUPERSEDED");
  t.strictSame(world.left(""), []);
  t.equal((await ask("POST", "/deploy/cvm/web/1?call=second", { body: specBody("web") })).status, 200);
});

t.test("called off at any moment, a start leaves nothing", async (t) => {
  const { driver, world } = await openStand(t);
  const far = driver();
  // Different moments of a start, which is never ready; which they are does not matter.
  for (const ms of [0, 0, 1, 2, 4, 8, 16, 64]) {
    const caller = new AbortController();
    const reason = new Error(`after ${ms} ms`);
    const deployed = far.deploy(specFor("off", 1, "memory:mute"), { signal: caller.signal });
    deployed.catch(() => {});
    if (ms > 0) await pause(ms);
    caller.abort(reason);
    t.equal(await deployed.catch((error: unknown) => error), reason);
    t.strictSame(world.left(""), [], `after ${ms} ms`);
  }
  await pause(100);
  t.strictSame(world.left(""), [], "nor does anything come late");
});

t.test("what does not become ready in time is removed, and its log tail is reported", async (t) => {
  const { ask, world } = await openStand(t, { limits: { startMs: 150 } });
  world.apps.set("babbling", {
    exposed: [1],
    run: ({ say }) => say("waiting for a database"),
  });
  const answer = await ask("POST", "/deploy/cvm/web/1", { body: specBody("web", 1, { image: "memory:babbling" }) });
  t.equal(answer.status, 500);
  t.match(JSON.parse(answer.text), { code: "START_TIMED_OUT", logs: ["waiting for a database"] });
  t.strictSame(world.left(""), []);
});

t.test("a deploy of berth's control has the limit of control, which cancels it", async (t) => {
  const { ask, world } = await openStand(t, { limits: { startMs: 150, capMs: 500 } });
  const begun = performance.now();
  const path = `/deploy/cvm/web/1?call=${randomUUID()}`;
  const answer = await ask("POST", path, { body: specBody("web", 1, { image: "memory:mute" }) });
  t.match(JSON.parse(answer.text), { code: "START_TIMED_OUT" });
  t.ok(performance.now() - begun >= 450, "not before the longest limit");
  t.strictSame(world.left(""), []);
});

t.test("deploys are bounded, and those of other services go on", async (t) => {
  const { ask, world } = await openStand(t, { limits: { most: 2 } });
  const under = ["one", "two"].map((name) => ask("POST", `/deploy/cvm/${name}/1`, { body: specBody(name, 1, { image: "memory:mute" }) }));
  await eventually("both run", () => world.running().length === 2);
  const third = await ask("POST", "/deploy/cvm/three/1", { body: specBody("three") });
  t.equal(third.status, 503);
  t.equal(codeOf(third.text), "SPAWNER_BUSY");
  await ask("DELETE", "/services/one");
  t.equal((await ask("POST", "/deploy/cvm/three/1", { body: specBody("three") })).status, 200);
  await ask("DELETE", "/services/two");
  await Promise.all(under);
});

const specFor = (service: string, generation: number, image: string): Spec => ({
  service,
  labels: labelsFor(service, generation),
  image,
  env: {},
  cpu: 1,
  memoryMb: 64,
  shmMb: 1,
  storageGb: 1,
  gpu: 0,
  port: 5353,
  readiness: { kind: "port" },
  graceMs: 1,
});

t.test("a deploy that its driver's caller calls off leaves nothing, also where the connection is cut meanwhile", async (t) => {
  const { driver, world } = await openStand(t);
  const caller = new AbortController();
  const reason = new Error("enough");
  const deployed = driver().deploy(specFor("off", 1, "memory:mute"), { signal: caller.signal });
  deployed.catch(() => {});
  await eventually("it runs", () => world.running().includes("off"));
  caller.abort(reason);
  t.equal(await deployed.catch((error: unknown) => error), reason);
  t.strictSame(world.left(""), []);
});

t.test("an unavailable engine behind the spawner is reported as such, and the deploy is not repeated", async (t) => {
  const { driver, world } = await openStand(t);
  world.away = true;
  const fault = await rejectsWith(t, "ENGINE_UNREACHABLE", driver().deploy(specFor("away", 1, "memory:listening"), call()));
  t.equal(fault.message, "The engine is away.");
  t.equal(world.callCount("deploy away"), 1);
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver().list(call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver().resolve({ ref: "listening" }, call()));
});
