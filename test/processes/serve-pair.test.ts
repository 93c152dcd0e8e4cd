import { join } from "node:path";
import t from "tap";
import { ADMIN_KEY } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import { isAlive } from "../fixtures/processes.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { openConsole } from "../control/console/fixtures/open-console.ts";
import { registryClient } from "../gateway/registry/registry-client.ts";
import { run } from "../gateway/registry/run.ts";
import { packageOf } from "../program/rights/fixtures/stand.ts";
import { controlOf, openServePair, type PairMachine, registryOf, runCommand } from "./fixtures/serve-pair.ts";

/** Two machines, each with one `berth serve`, and one real PostgreSQL. Their containers are processes that both reach. */
t.setTimeout(300_000);

const ROOT = join(import.meta.dirname, "../..");
const { machines, url, leader } = await openServePair(t);
const [one, two] = machines;
const square = async ({ berth }: PairMachine, id: string) => (await berth.call(`/docker/containers/proxy/${id}/square?number=4`)).status;
const statuses = async (id: string) => Promise.all(machines.map((machine) => square(machine, id)));

await two.berth.publish("app", packageOf("app", ["one", "two", "three"]));
const idOf = async (name: string) =>
  eventually(name, async () => {
    const { id, dockerfile } = await one.berth.container(name);
    return dockerfile.status === "ready" ? id : undefined;
  });
const [first, second, third] = [await idOf("app-one"), await idOf("app-two"), await idOf("app-three")];
const registries = machines.map((machine) => registryClient(t, registryOf(machine)));

/** What `docker login` requests. */
const tokenAt = async (machine: PairMachine) => {
  const answer = await fetch(`${registryOf(machine)}/token?service=docker-registry&scope=repository:a/b:pull,push`, {
    headers: { authorization: `Basic ${Buffer.from(`any:${ADMIN_KEY}`).toString("base64")}` },
  });
  return { status: answer.status, body: await answer.text() };
};

t.test("the gateways of both machines follow the one that leads", async (t) => {
  t.same(await statuses(first), [200, 200]);
  t.same(await Promise.all(registries.map(async ({ token }) => typeof (await token(["repository:a/b:pull,push"])))), ["string", "string"]);
});

t.test("`berth status` and the console show the leader, the standby, their last contact and the database", async (t) => {
  const leading = await leader();
  const [other] = machines.filter((machine) => machine !== leading) as [PairMachine];
  const name = new URL(url).pathname.slice(1);
  const text = await runCommand(leading, "status");
  t.equal(text.code, 0, text.output);
  t.match(text.output, new RegExp(`^Leader {4}\\S+ {2}${leading.entrance} {2}berth .*, last contact .* ago$`, "m"));
  t.match(text.output, new RegExp(`^Standby {3}\\S+ {2}${other.entrance} {2}berth .*, last contact .* ago$`, "m"));
  t.match(text.output, new RegExp(`^Database {2}.*${name}.*, \\d+ ms$`, "m"));
  t.match(text.output, /^Gateways {2}2 connected$/m);
  const json = await runCommand(leading, "status", "--json");
  const status = JSON.parse(json.output) as { epoch: number; processes: { url: string; leads: boolean; lagMs: number }[] };
  t.ok(status.epoch > 0);
  t.same(
    Object.fromEntries(status.processes.map(({ url: at, leads: isLeader }) => [at, isLeader])),
    Object.fromEntries(machines.map((machine) => [machine.entrance, machine === leading])),
  );
  t.ok(status.processes.every(({ lagMs }) => Number.isFinite(lagMs) && lagMs >= 0));
  const standby = await runCommand(other, "status");
  t.not(standby.code, 0);
  t.match(standby.output, `${leading.entrance} leads`, "a standby's machine names the leader");

  const { page, signIn } = await openConsole(t, /console at (\S+)/.exec(leading.berth.output())?.[1] ?? "");
  await signIn(ADMIN_KEY);
  await page.getByRole("link", { name: "Administration" }).click();
  await page.getByRole("navigation", { name: "Administration" }).getByRole("link", { name: "Processes" }).click();
  const gateways = page.getByRole("region", { name: "Gateways" }).locator("tbody tr");
  await gateways
    .filter({ hasText: /ffi|node/ })
    .nth(1)
    .waitFor();
  t.match(await gateways.first().innerText(), /0 *\s*\d+\.\d\d cores\s+[\d.]+ MiB/);
  const row = (machine: PairMachine) =>
    page.getByRole("region", { name: "Control processes" }).getByRole("row").filter({ hasText: machine.entrance });
  await row(leading).waitFor();
  t.match(await row(leading).innerText(), /leader[^]*\d s ago/);
  t.match(await row(other).innerText(), /standby[^]*\d s ago/);
  t.match(await page.locator("main").innerText(), name);
  await page.getByRole("button", { name: "Step down…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
});

t.test("after kill -9 of the leader's control process, both machines serve and start containers, and log users in", async (t) => {
  const before = await leader();
  const pid = controlOf(before);
  // It has the request for one token when it ends, and never gets that of the other machine.
  process.kill(pid, "SIGSTOP");
  const early = Promise.all(machines.map(tokenAt));
  await eventually("it to have a request", async () => {
    const { output } = await run("ss", ["-xaH"]);
    return output.split("\n").some((line) => line.includes(before.data) && Number(line.trim().split(/\s+/)[2]) > 0);
  });
  process.kill(pid, "SIGKILL");
  await eventually("it to be gone", async () => !isAlive(pid));
  const woken = statuses(second);
  const tokens = Promise.all(machines.map(tokenAt));
  for (let n = 0; n < 10; n++) t.same(await statuses(first), [200, 200]);
  t.same(await woken, [200, 200]);
  for (const answer of [...(await early), ...(await tokens)]) t.match(answer, { status: 200, body: /"token"/ });
  for (const [at, { push }] of registries.entries()) await push(`app/image-${at}`, "1", `a layer of ${at}`);
  const { output } = machines[before === one ? 0 : 1].berth;
  t.match(output(), /a process died and is started again/);
});

t.test("a planned end of the leader is not logged as a death", async (t) => {
  const before = await leader();
  const died = () => before.berth.output().split("a process died").length;
  const deaths = died();
  const pid = controlOf(before);
  const stepped = await runCommand(before, "control", "step-down");
  t.equal(stepped.code, 0, stepped.output);
  t.same(await statuses(third), [200, 200]);
  await eventually("it to be started again", async () => controlOf(before) !== pid && controlOf(before) !== 0);
  await eventually("its line", async () => before.berth.output().includes("process ended as planned, restarting"));
  t.equal(died(), deaths);
});

t.test("where no other machine could reach this one, BERTH_CONTROL is refused", async (t) => {
  const refused = await run(process.execPath, [join(ROOT, "berth.ts"), "serve"], {
    env: { PATH: process.env["PATH"] ?? "", ...one.env, BERTH_DATA: tempFolder(t), BERTH_GATEWAYS_PORT: "", BERTH_EDGE_PORT: "0" },
  });
  t.match(refused, { code: 2, output: /BERTH_GATEWAYS_PORT is not set/ });
});
