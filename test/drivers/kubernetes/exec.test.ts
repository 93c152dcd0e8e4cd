import t from "tap";
import type { ExecSession } from "../../../drivers/driver.ts";
import { call, rejectsWith, specOf } from "../conformance.ts";
import { faster, openWorld, RBAC, SHELL_RBAC } from "./test-cluster.ts";

const COMMAND = { command: ["node", "-p", "6 * 7"], terminal: undefined };

async function readText(session: ExecSession | undefined): Promise<string> {
  let text = "";
  for await (const { bytes } of session?.output ?? []) text += Buffer.from(bytes).toString();
  return text;
}

t.test("an image without a shell runs commands too, and reports one that it does not have", async (t) => {
  const world = await openWorld(t, { rbac: [RBAC, SHELL_RBAC] });
  const driver = world.open();
  await driver.deploy(await specOf(driver, "bare", await world.bareImage("onDemand")), call());
  const session = await driver.exec?.("bare", COMMAND, call());
  t.equal(await readText(session), "42\n");
  t.equal(await session?.exitCode(), 0);
  await session?.close();
  const missing = await driver.exec?.("bare", { command: ["/bin/bash-5"], terminal: { columns: 80, rows: 24 } }, call());
  t.match(await readText(missing), /\/bin\/bash-5: no such file or directory/);
  t.equal(await missing?.exitCode(), 127);
  await missing?.close();
  await driver.destroy("bare", call());
});

t.test("without the right its fault names the file that grants it", async (t) => {
  const world = await openWorld(t);
  const driver = world.open();
  await driver.deploy(await specOf(driver, "refused", await world.image("onDemand")), call());
  const denied = await rejectsWith(t, "ENGINE_ACTION_DENIED", driver.exec?.("refused", COMMAND, call()) ?? Promise.resolve());
  t.match(denied.message, /may not get pods\/exec .* conf\/kubernetes\/rbac-shell\.yaml/);
  await driver.destroy("refused", call());
});

t.test("an old cluster has another protocol", async (t) => {
  const world = await openWorld(t, { rbac: [RBAC, SHELL_RBAC] });
  const driver = world.open();
  await driver.deploy(await specOf(driver, "old", await world.image("onDemand")), call());
  world.cluster.takeSubprotocol("v4.channel.k8s.io");
  const old = await rejectsWith(t, "EXEC_UNAVAILABLE", driver.exec?.("old", COMMAND, call()) ?? Promise.resolve());
  t.match(old.message, /1\.30 or later.*kubectl exec old-/);
  await driver.destroy("old", call());
});

t.test("a container that runs before the kubelet has reported it has a shell, and one that has ended has none", async (t) => {
  const world = await openWorld(t, { rbac: [RBAC, SHELL_RBAC] });
  const driver = world.open();
  Object.assign(world.cluster.kubelet.notices, { startMs: 2_000, endMs: 30_000 });
  await driver.deploy(await specOf(driver, "early", await world.image("onDemand")), call());
  const session = await driver.exec?.("early", COMMAND, call());
  t.equal(await readText(session), "42\n");
  await session?.close();
  await world.kill("early");
  t.equal(await driver.exec?.("early", COMMAND, call()), undefined);
  world.cluster.kubelet.notices.endMs = 0;
  await driver.destroy("early", call());
});

t.test("a result that is no JSON, and a node that does not answer, end the call and nothing else", async (t) => {
  const world = await openWorld(t, { rbac: [RBAC, SHELL_RBAC] });
  const clock = faster(20);
  const driver = world.open({ clock });
  await driver.deploy(await specOf(driver, "odd", await world.image("onDemand")), call());
  world.cluster.exec.status = "<html>502</html>";
  const session = await driver.exec?.("odd", COMMAND, call());
  t.match(await readText(session), /^42\n.*gave no reason/);
  t.equal(await session?.exitCode(), undefined);
  await session?.close();
  world.cluster.exec.status = "none";
  const overdue = await rejectsWith(t, "ENGINE_UNREACHABLE", driver.exec?.("odd", COMMAND, call()) ?? Promise.resolve());
  t.match(overdue.message, /the node of odd-\S+ did not answer within 10 s/);
  world.cluster.exec.status = undefined;
  await driver.destroy("odd", call());
});

t.test("a server that breaks off ends the output, and no exit code is invented", async (t) => {
  const world = await openWorld(t, { rbac: [RBAC, SHELL_RBAC] });
  const driver = world.open();
  await driver.deploy(await specOf(driver, "broken", await world.image("onDemand")), call());
  const session = await driver.exec?.(
    "broken",
    { command: ["node", "-e", "console.log('runs'); setInterval(() => {}, 1000)"], terminal: undefined },
    call(),
  );
  let text = "";
  for await (const { bytes } of session?.output ?? []) {
    text += Buffer.from(bytes).toString();
    if (text.includes("runs")) world.cluster.away();
  }
  await rejectsWith(t, "ENGINE_UNREACHABLE", session?.exitCode() ?? Promise.resolve());
  await session?.close();
  await world.cluster.back();
  await driver.destroy("broken", call());
});
