import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { systemClock } from "../../lib/clock.ts";
import type { DriverName } from "../../drivers/driver.ts";
import { AVAILABLE_DRIVERS, openDriver } from "../../drivers/open.ts";
import { openLog } from "../../lib/log.ts";

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
