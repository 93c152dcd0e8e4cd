import { join } from "node:path";
import t from "tap";
import { systemClock } from "../../clock.ts";
import { AVAILABLE_DRIVERS, openDriver } from "../../drivers/open.ts";
import { openLog } from "../../log.ts";

const tools = { clock: systemClock(), log: openLog({ level: "silent", name: "test" }) };

t.test("each available driver opens under its own name, without asking its orchestrator", async (t) => {
  const settings = {
    docker: { host: `unix://${t.testdirName}/none.sock`, network: "none", reach: "auto" as const },
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
    process: { folder: join(t.testdir(), "services"), nodePath: process.execPath },
  };
  t.strictSame(AVAILABLE_DRIVERS, ["docker", "ecs", "process"]);
  for (const name of AVAILABLE_DRIVERS) {
    const driver = await openDriver(name, settings, tools);
    t.equal(driver.name, name);
    await driver.close();
  }
});

t.test("a driver that is not in this version, or has no settings, is a mistake in the settings", async (t) => {
  await t.rejects(openDriver("kubernetes", {}, tools), { code: "SETTINGS_INVALID" });
  await t.rejects(openDriver("docker", {}, tools), { code: "SETTINGS_INVALID" });
});
