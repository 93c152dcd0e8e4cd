import { execFileSync } from "node:child_process";
import t from "tap";

import { openStand } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** berth dies while it deploys: what it had begun is finished by the next one, and happens once. */
const stand = await openStand(t, "killed", {
  slow: { image: "slow", on_demand: true },
  other: { image: "slow", on_demand: true },
  plain: { image: "plain" },
});

/** The process ids of one role. */
const pidsOf = (role: string) =>
  execFileSync("ps", ["-o", "pid=,args=", "--ppid", String(stand.berth().pid)], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line.endsWith(` ${role}`))
    .map((line) => Number.parseInt(line, 10));

/** Its only instance, once the engine has one that runs although it does not answer yet. */
const booting = (folder: string) =>
  eventually(`${folder} to boot`, async () => {
    const [found] = await stand.instances(folder);
    const is = found === undefined ? undefined : await stand.docker.getContainer(found).inspect();
    return is?.State.Running === true && (await stand.entity(folder)).status === "starting" ? found : undefined;
  });

t.test("killed between deploy and answer, the next berth adopts what was deployed and answers with it", async (t) => {
  const waiting = stand.ask("slow", "/").catch(() => undefined);
  const instance = await booting("slow");
  await stand.restart();
  await waiting;
  const answer = await stand.ask("slow", "/square?number=3");
  t.same(await answer.json(), { result: 9 });
  t.same(await stand.instances("slow"), [instance], "the very same instance, and no other");
  t.equal((await stand.entity("slow")).status, "started");
});

t.test("with control killed alone, the request that waits is answered by the next one's work", async (t) => {
  const waiting = stand.ask("other", "/square?number=4");
  const instance = await booting("other");
  for (const pid of pidsOf("control")) process.kill(pid, "SIGKILL");
  const answer = await waiting;
  t.equal(answer.status, 200);
  t.same(await answer.json(), { result: 16 });
  t.same(await stand.instances("other"), [instance]);
});

t.test("a stop that was requested just before the kill is carried out, and a start too", async (t) => {
  const { id } = await stand.entity("plain");
  await stand.berth().call(`/docker/containers/${id}/run`);
  await stand.restart();
  await stand.until("plain", "started");
  t.equal((await stand.instances("plain")).length, 1);
  await stand.berth().call(`/docker/containers/${id}/stop`);
  await stand.restart();
  await stand.until("plain", "stopped by user");
  t.same(await stand.instances("plain"), []);
});
