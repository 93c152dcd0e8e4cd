import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { DriverName } from "../../drivers/driver.ts";
import { AVAILABLE_DRIVERS, chooseDriver, chooseOnEngine, deferredDriver, type DriverChoice, openDriver } from "../../drivers/open.ts";
import { systemClock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { openLog } from "../../lib/log.ts";
import { eventually } from "../fixtures/eventually.ts";
import { listening, openMemoryWorld } from "../fixtures/memory-driver.ts";
import { call, rejectsWith } from "./conformance.ts";

const tools = { clock: systemClock(), log: openLog({ level: "silent", name: "test" }) };

t.test("each available driver opens under its own name, without asking its orchestrator", async (t) => {
  const folder = t.testdir();
  const kubeconfig = join(folder, "kubeconfig");
  const names = { contexts: [{ name: "x", context: { cluster: "x", user: "x" } }], users: [{ name: "x", user: {} }], "current-context": "x" };
  writeFileSync(kubeconfig, JSON.stringify({ clusters: [{ name: "x", cluster: { server: "https://127.0.0.1:1" } }], ...names }));
  const settings = {
    docker: { host: `unix://${t.testdirName}/none.sock`, network: "none", reach: "auto" as const },
    swarm: { host: `unix://${t.testdirName}/none.sock`, network: "none", nodeRole: "cvm", reach: "auto" as const },
    ecs: {
      cluster: "none",
      region: "eu-west-1",
      subnets: ["subnet-0"],
      securityGroups: [],
      execRole: undefined,
      logGroup: undefined,
      launchType: undefined,
      reach: "address" as const,
    },
    kubernetes: { kubeconfig },
    process: { folder: join(folder, "services"), nodePath: process.execPath },
    spawner: { host: "nowhere.invalid", port: 1, tls: false, auth: { key: "x" } },
  };
  t.strictSame(AVAILABLE_DRIVERS, ["docker", "swarm", "ecs", "kubernetes", "process", "spawner"]);
  for (const name of AVAILABLE_DRIVERS) {
    const driver = await openDriver(name, settings, tools);
    t.equal(driver.name, name);
    await driver.close();
  }
});

t.test("a driver that is not in this version, or has no settings, is a mistake in the settings", async (t) => {
  await t.rejects(openDriver("none" as DriverName, {}, tools), { code: "SETTINGS_INVALID" });
  await t.rejects(openDriver("docker", {}, tools), { code: "SETTINGS_INVALID" });
});

const clock = systemClock();
const NONE: DriverChoice = { setting: "auto", forceDocker: false, ecs: false, kubernetes: false };

/** What is set beside nothing, and what is taken. */
const CHOICES: [set: Partial<DriverChoice>, taken: ReturnType<typeof chooseDriver>][] = [
  [{}, "ask"],
  [{ ecs: true }, "ecs"],
  [{ kubernetes: true }, "kubernetes"],
  [{ forceDocker: true }, "docker"],
  [{ forceDocker: true, ecs: true }, "docker"],
  [{ forceDocker: true, ecs: true, kubernetes: true }, "docker"],
  [{ setting: "process" }, "process"],
  [{ setting: "swarm" }, "swarm"],
  [{ setting: "swarm", forceDocker: true, ecs: true, kubernetes: true }, "swarm"],
  [{ setting: "kubernetes", ecs: true, kubernetes: true }, "kubernetes"],
];

t.test("the settings mean one orchestrator", async (t) => {
  for (const [set, taken] of CHOICES) t.equal(chooseDriver({ ...NONE, ...set }), taken, JSON.stringify(set));
  t.throws(() => chooseDriver({ ...NONE, ecs: true, kubernetes: true }), { code: "SETTINGS_INVALID" });
  t.equal(chooseOnEngine({ managesSwarm: true }), "swarm");
  t.equal(chooseOnEngine({ managesSwarm: false }), "docker");
});

t.test("an unavailable engine is queried again until it reports its kind, and once", async (t) => {
  const world = openMemoryWorld(clock);
  world.apps.set("app", listening);
  t.teardown(() => world.close());
  let away = true;
  let requests = 0;
  const driver = deferredDriver({
    choose: async () => {
      requests++;
      if (away) throw new Fault("ENGINE_UNREACHABLE", "It is away.");
      return world.open();
    },
    meanwhile: { name: "docker", pulls: true },
    clock,
    log: openLog({ level: "silent", name: "test" }),
  });
  const over = new AbortController();
  const events: string[] = [];
  const listeningToIt = (async () => {
    for await (const { kind } of driver.events({ signal: over.signal })) events.push(kind);
  })();
  t.equal(driver.name, "docker");
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.list(call()));
  const reason = new Error("enough");
  t.equal(await driver.list({ signal: AbortSignal.abort(reason) }).catch((error: unknown) => error), reason);
  away = false;
  t.strictSame(await driver.list(call()), []);
  const once = requests;
  t.match(await driver.resolve({ ref: "app" }, call()), { exposed: [5353] });
  t.equal(driver.name, "process", "the one that was opened");
  await eventually("an event", () => events.length > 0);
  t.strictSame(events, ["connected"]);
  t.equal(requests, once, "no further query");
  over.abort();
  await listeningToIt;
  await driver.close();
});
