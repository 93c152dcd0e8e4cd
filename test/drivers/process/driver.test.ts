import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { deploy } from "../../../drivers/process/deploy.ts";
import { processDriver } from "../../../drivers/process/driver.ts";
import { openRecords } from "../../../drivers/process/records.ts";
import { openLog } from "../../../lib/log.ts";
import { layOutFolder, type TestImage } from "../../fixtures/images.ts";
import { workingIn } from "../../fixtures/processes.ts";
import { BACKENDS } from "../conformance/backends.ts";
import { call, conformance, get, labelsFor, specOf, text } from "../conformance.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { pause } from "../../fixtures/clock.ts";

const log = openLog({ level: "silent", name: "test" });

function world(t: Test) {
  const folder = t.testdir({ services: {}, packages: {} });
  const services = join(folder, "services");
  const source = (name: TestImage) => ({ ref: `test/${name.toLowerCase()}`, folder: layOutFolder(join(folder, "packages", name), name) });
  const open = () => processDriver({ folder: services, nodePath: process.execPath, clock: systemClock(), log });
  return { folder, services, source, open };
}

t.test("the process driver keeps the contract", async (t) => {
  const { services, source, open } = world(t);
  const records = openRecords(services);
  await conformance(t, {
    open,
    image: async (name) => source(name),
    unknown: async () => ({ ref: "test/absent", folder: join(services, "no-such-folder") }),
    kill: async (service) => {
      process.kill(records.find(service)?.process?.pid as number, "SIGKILL");
    },
    left: async (prefix) =>
      records
        .all()
        .map(({ service }) => service)
        .filter((service) => service.startsWith(prefix)),
    vanish: async (service) => {
      process.kill(records.find(service)?.process?.pid as number, "SIGKILL");
      records.remove(service);
    },
    ...BACKENDS.process,
  });
});

t.test("the records of a service that boots slowly are read seldom", async (t) => {
  const { source, open, services } = world(t);
  const driver = open();
  const records = openRecords(services);
  let reads = 0;
  const find: typeof records.find = (service) => {
    reads++;
    return records.find(service);
  };
  const spec = await specOf(driver, "boots-slowly", source("slow"), { env: { BOOT_MS: "2000" } });
  await deploy({ records: { ...records, find }, clock: systemClock(), nodePath: process.execPath }, spec, call());
  t.ok(reads < 40, `${reads} reads in two seconds`);
  await driver.destroy(spec.service, call());
});

t.test("what ends an instance leaves the next one, which another process has started meanwhile, its record", async (t) => {
  const { source, open, services } = world(t);
  const [driver, sleeping, resume] = [open(), Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  // Of a process that stands still between two looks.
  const clock = {
    ...systemClock(),
    sleep: async () => {
      sleeping.resolve();
      await resume.promise;
    },
  };
  const slow = processDriver({ folder: services, nodePath: process.execPath, clock, log });
  const spec = await specOf(driver, "replaced", source("onDemand"));
  await driver.deploy(spec, call());
  const late = slow.destroy("replaced", call());
  await sleeping.promise;
  await driver.destroy("replaced", call());
  const { instance } = await driver.deploy(spec, call());
  resume.resolve();
  await late;
  t.match(await driver.inspect("replaced", call()), { running: true, instance });
  await driver.destroy("replaced", call());
});

t.test("a deploy whose instance another process has replaced ends no other one", async (t) => {
  const { source, open, services } = world(t);
  const driver = open();
  const [looking, resume] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isHeld = false;
  const system = systemClock();
  const clock = { ...system, sleep: (ms: number, signal?: AbortSignal) => (isHeld ? (looking.resolve(), resume.promise) : system.sleep(ms, signal)) };
  const slow = processDriver({ folder: services, nodePath: process.execPath, clock, log });
  const spec = await specOf(driver, "replaced", source("onDemand"), { env: { BOOT_MS: "60000" } });
  const first = slow.deploy(spec, { ...call(), onLaunched: () => (isHeld = true) });
  const rejected = t.rejects(first, { code: "CONTAINER_CRASHED" });
  await looking.promise;
  await driver.destroy("replaced", call());
  const { instance } = await driver.deploy(await specOf(driver, "replaced", source("onDemand"), {}), call());
  isHeld = false;
  resume.resolve();
  await rejected;
  t.match(await driver.inspect("replaced", call()), { running: true, instance });
  await driver.destroy("replaced", call());
});

t.test("a service outlives the berth that started it, and the next one finds and ends it", async (t) => {
  const { services, source, open } = world(t);
  const driver = open();
  const spec = await specOf(driver, "outlives", source("onDemand"));
  const script = `
    const { processDriver } = await import(${JSON.stringify(join(import.meta.dirname, "../../../drivers/process/driver.ts"))});
    const { systemClock } = await import(${JSON.stringify(join(import.meta.dirname, "../../../lib/clock.ts"))});
    const write = () => {};
    const driver = processDriver({ folder: ${JSON.stringify(services)}, nodePath: process.execPath, clock: systemClock(), log: { debug: write, info: write, warn: write, error: write } });
    const { addresses: [address] } = await driver.deploy(${JSON.stringify(spec)}, { signal: AbortSignal.timeout(30000) });
    console.log(JSON.stringify(address));
    setInterval(() => {}, 1000);`;
  const berth = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(berth.stdout, "data")) as [Buffer];
  const address = JSON.parse(line.toString()) as { host: string; port: number };
  berth.kill("SIGKILL");
  await once(berth, "exit");

  t.strictSame(await get(address, "/square?number=5"), { result: 25 });
  t.match(await driver.list(call()), [{ service: "outlives", labels: spec.labels, running: true, addresses: [address] }]);
  t.strictSame((await driver.deploy(spec, call())).addresses[0], address);
  await driver.destroy("outlives", call());
  t.strictSame(await driver.list(call()), []);
  await t.rejects(get(address, "/"), "it no longer answers");
});

t.test("a process that merely has a dead service's number is neither shown nor ended", async (t) => {
  const { services, open } = world(t);
  const bystander = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { detached: true, stdio: "ignore" });
  await once(bystander, "spawn");
  const records = openRecords(services);
  records.claim({ service: "reused", labels: labelsFor("reused"), port: 1, boot: records.boot });
  const stat = readFileSync(`/proc/${bystander.pid}/stat`, "utf8").split(" ");
  stat[21] = String(Number(stat[21]) - 1);
  writeFileSync(records.statPath("reused"), stat.join(" "));
  const driver = open();
  t.equal((await driver.inspect("reused", call()))?.running, false);
  await driver.destroy("reused", call());
  t.ok(process.kill(bystander.pid as number, 0), "the bystander lives");
  bystander.kill("SIGKILL");
  await once(bystander, "exit");
});

t.test("a record from before the machine was started anew is not a running service", async (t) => {
  const { services, source, open } = world(t);
  const driver = open();
  const spec = await specOf(driver, "rebooted", source("worker"));
  await driver.deploy(spec, call());
  const path = join(services, "rebooted.json");
  const record = JSON.parse(readFileSync(path, "utf8")) as { boot: string };
  writeFileSync(path, JSON.stringify({ ...record, boot: "another" }));
  t.equal((await driver.inspect("rebooted", call()))?.running, false);
  writeFileSync(path, JSON.stringify(record));
  await driver.destroy("rebooted", call());
});

t.test("the children of a service end with it", async (t) => {
  const { folder, open } = world(t);
  const family = join(folder, "family");
  mkdirSync(family);
  writeFileSync(join(family, "Dockerfile"), 'FROM scratch\nCMD node -e "setInterval(() => {}, 1000)" & echo "child $!"; wait\n');
  const driver = open();
  await driver.deploy(await specOf(driver, "family", { ref: "family", folder: family }, { graceMs: 100 }), call());
  let text = "";
  for await (const piece of driver.logs("family", { tail: 10 }, call())) text += piece;
  const child = Number(/child (\d+)/.exec(text)?.[1]);
  t.ok(process.kill(child, 0));
  await driver.destroy("family", call());
  await eventually("the child is gone", () => {
    try {
      // A zombie still has its number; its parent, which is gone, leaves it to init.
      return readFileSync(`/proc/${child}/stat`, "utf8").includes(") Z ");
    } catch {
      return true;
    }
  });
});

t.test("a chatty service does not fill the disk, and its newest lines can be read and followed", async (t) => {
  const { folder, services, open } = world(t);
  const chatty = join(folder, "chatty");
  mkdirSync(chatty);
  const script = `
    for (let n = 0; n < 20; n++) require("node:fs").writeSync(1, ("x".repeat(1023) + "\\n").repeat(1024));
    require("node:fs").writeSync(1, "twenty\\n");
    setInterval(() => console.log("more"), 100);`;
  writeFileSync(join(chatty, "app.cjs"), script);
  writeFileSync(join(chatty, "Dockerfile"), 'FROM scratch\nCMD ["node", "app.cjs"]\n');
  const driver = open();
  const over = new AbortController();
  const size = () => statSync(join(services, "chatty.log")).size;
  await driver.deploy(await specOf(driver, "chatty", { ref: "chatty", folder: chatty }, { graceMs: 100 }), call());
  await eventually("it is large", () => size() > 20_000_000);
  const events: string[] = [];
  const following = (async () => {
    for await (const piece of driver.logs("chatty", { tail: 1, follow: true }, { signal: over.signal })) events.push(piece);
  })().catch(() => {});
  const watching = (async () => {
    for await (const event of driver.events({ signal: over.signal })) if (event.kind === "changed") return;
  })();
  await eventually("it is cut", () => size() < 2_000_000);
  const before = events.length;
  await eventually("the follower goes on", () => events.length > before + 3);
  t.ok(events.join("").length < 10_000, "and hears nothing twice");
  t.match(await text(driver.logs("chatty", { tail: 1_000 }, call())), /x\ntwenty\n(more\n)+$/);
  over.abort();
  await Promise.all([following, watching]);
  await driver.destroy("chatty", call());
});

t.test("nothing of berth's own environment reaches a service, and its own PORT wins", async (t) => {
  const { source, open } = world(t);
  process.env["BERTH_TEST_SECRET"] = "do not tell";
  t.teardown(() => delete process.env["BERTH_TEST_SECRET"]);
  const driver = open();
  const {
    addresses: [address],
  } = await driver.deploy(await specOf(driver, "clean", source("plain"), { env: { PORT: "1" } }), call());
  const env = (await get(address as NonNullable<typeof address>, "/env")) as Record<string, string>;
  t.equal(env["BERTH_TEST_SECRET"], undefined);
  t.equal(env["PORT"], String(address?.port));
  t.equal(env["DEFAULT_PORT"], "5353");
  await driver.destroy("clean", call());
});

t.test("relative folders mean the same to a service, which runs in another folder", async (t) => {
  const { folder, services, source } = world(t);
  const here = (path: string) => relative(process.cwd(), path);
  const driver = processDriver({ folder: here(services), nodePath: process.execPath, clock: systemClock(), log });
  const whole = source("onDemand");
  const {
    addresses: [address],
  } = await driver.deploy(await specOf(driver, "relative", { ...whole, folder: here(whole.folder) }), call());
  t.strictSame(await get(address as NonNullable<typeof address>, "/square?number=2"), { result: 4 });
  await driver.destroy("relative", call());
  t.strictSame(readdirSync(join(folder, "packages/onDemand")).toSorted(), ["Dockerfile", "app.js", "node_modules", "package.json"]);
});

t.test("a start that is aborted before its process reports its identity leaves no process", async (t) => {
  const { folder, source, open } = world(t);
  const driver = open();
  const spec = await specOf(driver, "unsaid", source("mute"));
  for (let ms = 0; ms < 12; ms++) {
    const caller = new AbortController();
    const deployed = driver.deploy(spec, { signal: caller.signal });
    deployed.catch(() => undefined);
    await pause(ms);
    caller.abort(new Error("enough"));
    await t.rejects(deployed, { message: "enough" });
  }
  await pause(200);
  t.strictSame(workingIn(join(folder, "packages")), []);
});
