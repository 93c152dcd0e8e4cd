import { createServer, type RequestListener } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { createServer as createTlsServer, getCACertificates, setDefaultCACertificates } from "node:tls";
import t, { type Test } from "tap";
import { clockFrom, systemClock } from "../../../lib/clock.ts";
import type { DriverEvent } from "../../../drivers/driver.ts";
import { openRecords } from "../../../drivers/process/records.ts";
import { spawnerDriver } from "../../../drivers/spawner/driver.ts";
import { openLog } from "../../../lib/log.ts";
import { makeCertificate } from "../../fixtures/certificates.ts";
import { layOutFolder, type TestImage } from "../../fixtures/images.ts";
import { driverFor, SPAWNER_KEY, spawnerWay, startSpawner } from "../../fixtures/spawner.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { BACKENDS } from "../conformance/backends.ts";
import { call, conformance, get, rejectsWith, specOf, text } from "../conformance.ts";
import { openGate, openSilence } from "../engine/engine-gate.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { listen } from "../../fixtures/server.ts";

/** Over a real connection to a real `berth spawner`, whose containers are processes. */
async function world(t: Test) {
  const data = tempFolder(t);
  const spawner = await startSpawner({ data, env: { BERTH_DRIVER: "process" } });
  t.teardown(() => spawner.stop());
  const source = (name: TestImage) => ({ ref: `test/${name.toLowerCase()}`, folder: layOutFolder(join(data, "packages", name), name) });
  const records = openRecords(join(data, "spawner-data/processes"));
  const left = async (prefix: string) =>
    records
      .all()
      .map(({ service }) => service)
      .filter((service) => service.startsWith(prefix));
  return { data, spawner, source, records, left };
}

/** What plain processes lack, wherever they are started. */
const { memory, moved, gpu, capabilities, "log-times": logTimes } = BACKENDS.process.cannot;
const isolated = { memory, moved, gpu, capabilities, "log-times": logTimes };

t.test("the spawner driver keeps the contract, over a spawner of plain processes", async (t) => {
  const { data, spawner, source, records, left } = await world(t);
  await conformance(t, {
    open: () => spawner.driver(),
    image: async (name) => source(name),
    unknown: async () => ({ ref: "test/absent", folder: join(data, "no-such-folder") }),
    kill: async (service) => {
      process.kill(records.find(service)?.process?.pid as number, "SIGKILL");
    },
    left,
    vanish: async (service) => {
      process.kill(records.find(service)?.process?.pid as number, "SIGKILL");
      records.remove(service);
    },
    way: (t) => spawnerWay(t, spawner),
    cannot: { ...BACKENDS.spawner.cannot, ...isolated },
  });
});

t.test("a spawner that is killed in the middle of a deploy and started again finishes it, once", async (t) => {
  const { data, spawner, source, records, left } = await world(t);
  const driver = spawner.driver();
  const spec = await specOf(driver, "again", source("slow"), { env: { BOOT_MS: "4000" } });
  const deployed = driver.deploy(spec, call());
  deployed.catch(() => {});
  await eventually("the service boots", async () => records.find("again")?.running === true);
  const before = records.find("again")?.process?.pid;
  await spawner.kill();
  const second = await startSpawner({ data, port: spawner.port, env: { BERTH_DRIVER: "process" } });
  t.teardown(() => second.stop());
  const {
    addresses: [address],
  } = await deployed;
  t.strictSame(await get(address as NonNullable<typeof address>, "/square?number=9"), { result: 81 });
  t.equal(records.find("again")?.process?.pid, before, "it is the very process that was starting");
  await driver.destroy("again", call());
  t.strictSame(await left("again"), []);
});

t.test("a spawner that stops in the middle of a deploy undoes nothing, and the next one finishes it", async (t) => {
  const { data, spawner, source, records } = await world(t);
  const driver = spawner.driver();
  const spec = await specOf(driver, "slow", source("slow"), { env: { BOOT_MS: "3000" } });
  const deployed = driver.deploy(spec, call());
  deployed.catch(() => {});
  await eventually("the service boots", async () => records.find("slow")?.running === true);
  const before = records.find("slow")?.process?.pid;
  await spawner.stop();
  t.equal(records.find("slow")?.process?.pid, before);
  const second = await startSpawner({ data, port: spawner.port, env: { BERTH_DRIVER: "process" } });
  t.teardown(() => second.stop());
  t.ok((await deployed).addresses[0]);
  t.equal(records.find("slow")?.process?.pid, before);
  await driver.destroy("slow", call());
});

t.test("a spawner that is not there is unreachable, in every call and at once", async (t) => {
  const driver = driverFor(1);
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.resolve({ ref: "a:1" }, call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.list(call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.inspect("any", call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.destroy("any", call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", text(driver.logs("any", { tail: 1 }, call())));
  const spec = { labels: { store: "s", environment: "e", container: "c", generation: 1 }, image: "a", env: {}, cpu: 1, memoryMb: 64 };
  const readiness = { kind: "running" as const };
  const whole = { ...spec, service: "any", shmMb: 64, storageGb: 1, gpu: 0, readiness, graceMs: 1 };
  const fault = await rejectsWith(t, "ENGINE_UNREACHABLE", driver.deploy(whole, call()));
  t.match(fault.message, /127\.0\.0\.1:1 .*ECONNREFUSED/);
  await driver.close();
});

t.test("a wrong key is reported as such, and the message contains neither key", async (t) => {
  const { spawner } = await world(t);
  const driver = spawner.driver({ key: "another-key" });
  const fault = await rejectsWith(t, "ENGINE_ACTION_DENIED", driver.list(call()));
  t.match(fault.message, /grokSpawnerApiKey/);
  t.notMatch(fault.message, /another-key|a-spawner-key/);
  await rejectsWith(t, "ENGINE_ACTION_DENIED", driver.resolve({ ref: "a:1" }, call()));
  await rejectsWith(t, "ENGINE_ACTION_DENIED", text(driver.logs("any", { tail: 1 }, call())));
});

const startServer = async (t: Test, listener: RequestListener) => (await listen(t, createServer(listener))).port;

t.test("what is no spawner is not taken for one", async (t) => {
  const answers: Record<string, RequestListener> = {
    "a page": (_, response) => void response.writeHead(200, { "content-type": "text/html" }).end("<html>hello</html>"),
    "another server's JSON": (_, response) => void response.end(JSON.stringify({ ok: true })),
    "a 404": (_, response) => void response.writeHead(404).end("nothing here"),
    "an error that names a fault and is none": (_, response) => void response.writeHead(500).end(JSON.stringify({ code: "toString", message: "x" })),
  };
  for (const [name, listener] of Object.entries(answers)) {
    const driver = driverFor(await startServer(t, listener));
    await rejectsWith(t, "ENGINE_FAILED", driver.list(call())).catch(() => t.fail(name));
    await rejectsWith(t, "ENGINE_FAILED", driver.inspect("any", call()));
    await driver.close();
  }
});

t.test("a spawner that hears and says nothing fails in bounded time, and obeys the caller's signal", async (t) => {
  const at = new URL((await openSilence(t)).replace("tcp:", "http:"));
  const system = systemClock();
  const hasty = clockFrom({ ...system, after: (ms, task) => system.after(ms / 20, task) });
  const log = openLog({ level: "silent", name: "test" });
  const options = { host: at.hostname, port: Number(at.port), tls: false, auth: { key: "x" }, log };
  t.type((await rejectsWith(t, "ENGINE_UNREACHABLE", spawnerDriver({ ...options, clock: hasty }).list(call()))).retryAfterMs, "number");
  const patient = spawnerDriver({ ...options, clock: system });
  const caller = new AbortController();
  const reason = new Error("enough");
  const listing = patient.list({ signal: caller.signal });
  caller.abort(reason);
  t.equal(await listing.catch((error: unknown) => error), reason);
});

t.test("a deploy without an answer is requested again, and a silent stream of events too", async (t) => {
  let requests = 0;
  const port = await startServer(t, (request, response) => {
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    response.flushHeaders();
    if (request.url === "/events") return void response.write('{"kind":"connected"}\n');
    if (++requests === 1) return void response.write("\n");
    response.end(`${JSON.stringify({ image: { id: "sha256:1", exposed: [1] } })}\n`);
  });
  const system = systemClock();
  const hasty = clockFrom({ ...system, after: (ms, task) => system.after(ms / 100, task) });
  const log = openLog({ level: "silent", name: "test" });
  const driver = spawnerDriver({ host: "127.0.0.1", port, tls: false, auth: { key: "x" }, clock: hasty, log });
  t.strictSame(await driver.resolve({ ref: "a:1" }, call()), { id: "sha256:1", exposed: [1], command: [] }, "an older spawner sends no command");
  t.equal(requests, 2);
  const caller = new AbortController();
  let connected = 0;
  const listening = (async () => {
    for await (const { kind } of driver.events({ signal: caller.signal })) if (kind === "connected") connected++;
  })();
  await eventually("connected anew", () => connected > 1);
  caller.abort();
  await listening;
});

t.test("events begin anew when the connection to the spawner breaks", async (t) => {
  const { spawner, source } = await world(t);
  const gate = await openGate(t, { host: "127.0.0.1", port: spawner.port });
  const driver = driverFor(gate.port);
  const caller = new AbortController();
  const events: DriverEvent[] = [];
  const listening = (async () => {
    for await (const event of driver.events({ signal: caller.signal })) events.push(event);
  })();
  const connects = () => events.filter(({ kind }) => kind === "connected").length;
  await eventually("connected", () => connects() === 1);
  gate.cut();
  await eventually("connected again", () => connects() === 2);
  await spawner.driver().deploy(await specOf(driver, "slow", source("worker"), { graceMs: 1 }), call());
  await eventually("reported after the break", () => events.some((event) => event.kind === "changed" && event.service === "slow"));
  caller.abort();
  await listening;
  await driver.destroy("slow", call());
});

t.test("a spawner behind TLS is spoken to where its certificate is believed, and not at all where it is not", async (t) => {
  const { spawner, data } = await world(t);
  const { cert, key } = makeCertificate(data, "spawner");
  const front = createTlsServer({ cert, key }, (near) => {
    const far = connect(spawner.port, "127.0.0.1");
    for (const socket of [near, far]) socket.on("error", () => [near, far].forEach((one) => one.destroy()));
    near.pipe(far).pipe(near);
  });
  const { port } = await listen(t, front);
  const log = openLog({ level: "silent", name: "test" });
  const driver = spawnerDriver({ host: "127.0.0.1", port, tls: true, auth: { key: SPAWNER_KEY }, clock: systemClock(), log });
  const fault = await rejectsWith(t, "ENGINE_UNREACHABLE", driver.list(call()));
  t.match(fault.message, /https:.*SELF_SIGNED/);
  const believed = getCACertificates("default");
  // As NODE_EXTRA_CA_CERTS does, which is read at a process's start only.
  setDefaultCACertificates([...believed, cert]);
  t.teardown(() => setDefaultCACertificates(believed));
  t.strictSame(await driver.list(call()), []);
});
