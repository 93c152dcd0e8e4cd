import t from "tap";
import { type Berth, startBerth } from "../fixtures/berth.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { CLUSTER, EXEC_ROLE, LOG_GROUP, openStand, REGION, SHELL_ROLE } from "../drivers/ecs/fixture.ts";
import { eventually } from "../fixtures/eventually.ts";
import { requireShell } from "../control/api/fixtures/shell-client.ts";

/** A plugin's container on ECS, seen from outside alone: published, woken, used, asleep, crashed, moved, and found again after `kill -9`. */
t.test("a whole berth on ECS", async (t) => {
  const stand = await openStand(t, ["onDemand", "crashing"], { restartMs: 60_000, shells: true });
  const data = tempFolder(t);
  // As a stand in the field sets them.
  const env = {
    BERTH_DRIVER: "ecs",
    GROK_SPAWNER_ENVIRONMENT: "whole",
    GROK_SPAWNER_CVM_ECS_CLUSTER: CLUSTER,
    GROK_SPAWNER_CVM_ECS_CLUSTER_REGION: REGION,
    GROK_SPAWNER_CVM_ECS_SUBNETS: JSON.stringify(stand.subnets),
    GROK_SPAWNER_CVM_ECS_SECURITY_GROUPS: JSON.stringify(stand.securityGroups),
    GROK_SPAWNER_CVM_ECS_LAUNCH_TYPE: "FARGATE",
    GROK_SPAWNER_DATAGROK_ECS__EXEC_ROLE: EXEC_ROLE,
    GROK_SPAWNER_DATAGROK_ECS__LOG_GROUP: LOG_GROUP,
    BERTH_SHELL: "on",
    BERTH_ECS_SHELL_ROLE: SHELL_ROLE,
    AWS_ENDPOINT_URL: stand.url,
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: "test",
    GROK_PARAMETERS: JSON.stringify({ dockerSettings: { proxyRequestTimeout: 30_000 } }),
  };
  let berth: Berth = await startBerth({ data, env });
  t.teardown(() => berth.stop());
  const square = async (number: number) => {
    const { id } = await berth.container("whole-square");
    const response = await berth.call(`/docker/containers/proxy/${id}/square?number=${number}`);
    return { status: response.status, body: await response.json() };
  };
  const answersAgain = (how: string) => eventually(`it answers ${how}`, async () => (await square(3).catch(() => undefined))?.status === 200);
  const nine = { status: 200, body: { result: 9 } };
  const service = async () => (await berth.container("whole-square")).serviceName;

  const published = await berth.publish("Whole", {
    "package.json": JSON.stringify({ name: "@datagrok/Whole", version: "1.0.0", friendlyName: "Whole" }),
    // 6 s of idleness.
    "dockerfiles/square/container.json": JSON.stringify({
      image: "berth-test/ondemand:1",
      on_demand: true,
      shutdown_timeout: 0.1,
      cpu: 0.5,
      memory: 256,
    }),
    "dockerfiles/crash/container.json": JSON.stringify({ image: "berth-test/crashing:1", on_demand: true }),
  });
  t.equal(published.status, 200);

  await t.test("a request wakes it, and it goes to sleep again", async (t) => {
    t.strictSame(await square(3), nine);
    t.equal(stand.services.get(await service())?.status, "ACTIVE");
    await berth.until("whole-square", ["stopped by system"], 30_000);
    const kept = stand.services.get(await service());
    t.ok(kept && stand.scheduler.live(kept).length === 0 && kept.status !== "ACTIVE");
  });

  await t.test("a shell runs in its task, with a terminal and without, and no log has its token", async (t) => {
    t.strictSame(await square(3), nine);
    const { id } = await berth.container("whole-square");
    const at = (query: string) => `${berth.api.replace("http", "ws")}/docker/containers/${id}/exec?${query}`;
    const asAdmin = { headers: { authorization: berth.token } };
    const shell = await requireShell(t, at("tty=true&columns=91&rows=21"), asAdmin);
    shell.type("echo $((6*7)) $TERM; stty size\n");
    await shell.expect(/42 xterm-256color\r\n21 91\r\n/);
    shell.send({ resize: { columns: 61, rows: 33 } });
    shell.type("stty size\n");
    await shell.expect(/33 61\r\n/);
    shell.type("exit 5\n");
    t.strictSame(await shell.ended, { report: { exitCode: 5 }, code: 1000 });
    const command = ["sh", "-c", "wc -c; echo to-error >&2; exit 3"].map((word) => `command=${encodeURIComponent(word)}`).join("&");
    const piped = await requireShell(t, at(command), asAdmin);
    piped.type("twelve bytes");
    piped.send({ stdin: "ended" });
    t.strictSame(await piped.ended, { report: { exitCode: 3 }, code: 1000 });
    await piped.expect(/^12$/m);
    t.equal(piped.errors(), "to-error\n");
    const logged = berth.output();
    t.ok(stand.sessions.tokens().length >= 2);
    for (const token of stand.sessions.tokens()) t.notOk(logged.includes(token.slice(0, 30)));
  });

  await t.test("one that crashes at start says why, with its last lines", async (t) => {
    const { id } = await berth.container("whole-crash");
    const response = await berth.call(`/docker/containers/proxy/${id}/`);
    t.equal(response.status, 500);
    t.match(await response.text(), /exit code 7/);
    t.match((await berth.container("whole-crash")).lastLogs, /crash: no database/);
  });

  await t.test("after a crash behind its back, the next request wakes it anew", async (t) => {
    t.strictSame(await square(3), nine);
    stand.scheduler.kill(await service());
    await answersAgain("anew");
  });

  await t.test("where ECS moves a task, requests follow", async (t) => {
    const name = await service();
    await eventually("ECS is content", async () => stand.services.get(name)?.rolloutState === "COMPLETED");
    const { address } = await berth.container("whole-square");
    stand.restartMs = 0;
    stand.scheduler.kill(name);
    await answersAgain("elsewhere");
    stand.restartMs = 60_000;
    t.not((await berth.container("whole-square")).address, address);
  });

  await t.test("a berth that was killed finds it running and uses it", async (t) => {
    t.strictSame(await square(3), nine);
    const kept = stand.services.get(await service());
    await berth.kill();
    berth = await startBerth({ data, env });
    t.strictSame(await square(3), nine);
    t.equal(stand.services.get(await service()), kept, "the same service");
  });

  t.notMatch(berth.output(), /test-admin-key|s3cret/, "no secret is printed");
});
