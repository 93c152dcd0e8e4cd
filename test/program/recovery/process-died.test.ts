import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { startBerth } from "../../fixtures/berth.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** A service that is killed outright, on a machine without an engine. */
const DEMO = join(import.meta.dirname, "../../../conf/demo/dockerfiles/square");
const demo = (name: string) => readFileSync(join(DEMO, name), "utf8");
const files = (folder: string, json: object) => ({
  ...Object.fromEntries(readdirSync(DEMO).map((name) => [`dockerfiles/${folder}/${name}`, demo(name)])),
  [`dockerfiles/${folder}/container.json`]: JSON.stringify(json),
});

const data = tempFolder(t);
const berth = await startBerth({ data, env: { BERTH_DRIVER: "process" } });
t.teardown(() => berth.stop());
const published = await berth.publish("died", {
  "package.json": JSON.stringify({ name: "died", version: "1.0.0" }),
  ...files("ondemand", { on_demand: true }),
  ...files("plain", { on_demand: false }),
});
if (published.status !== 200) throw new Error(await published.text());

const ask = async (name: string, number: number) =>
  berth.call(`/docker/containers/proxy/${(await berth.container(name)).id}/square?number=${number}`);
const pidOf = async (name: string) => {
  const { serviceName } = await berth.container(name);
  return Number.parseInt(readFileSync(join(data, "berth-data/processes", `${serviceName}.stat`), "utf8"), 10);
};
/** Only a dead process refuses connections; a request that was accepted before is cut off, which is a 502. */
const kill = async (pid: number) => {
  process.kill(pid, "SIGKILL");
  await eventually(`${pid} to be dead`, async () => isDead(pid));
};
const isDead = (pid: number) => {
  try {
    // Its sockets are open until the last of its threads has ended, and the first one waits for them.
    return / [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8")) && readdirSync(`/proc/${pid}/task`).length === 1;
  } catch {
    return true;
  }
};
const history = async (name: string) =>
  (await (await berth.call(`/docker/containers/${(await berth.container(name)).id}/history`)).json()) as { event: string; by: string }[];

t.test("killed behind its back, an on-demand one answers the very next request", async (t) => {
  t.equal((await ask("died-ondemand", 2)).status, 200);
  const before = await pidOf("died-ondemand");
  await kill(before);
  const answer = await ask("died-ondemand", 3);
  t.equal(answer.status, 200);
  t.match(await answer.json(), { result: 9 });
  t.not(await pidOf("died-ondemand"), before);
  const events = (await history("died-ondemand")).map(({ event }) => event);
  t.same(events.at(-1), "answered", events.join());
});

t.test("and a plain one, which comes back without a request", async (t) => {
  const { id } = await berth.container("died-plain");
  await berth.call(`/docker/containers/${id}/run?awaitStart=true`);
  for (const asks of [true, false]) {
    const before = await pidOf("died-plain");
    await kill(before);
    if (asks) t.equal((await ask("died-plain", 3)).status, 200);
    await eventually("another process", async () => {
      const { status } = await berth.container("died-plain");
      return status === "started" && (await pidOf("died-plain")) !== before ? true : undefined;
    });
  }
});

t.test("the history names the users by their ids, and the system where no user acted", async (t) => {
  const me = (await (await berth.call("/users/current")).json()) as { id: string };
  const lines = await history("died-plain");
  t.equal(lines.find(({ event }) => event === "startWished")?.by, me.id);
  t.equal(lines.find(({ event }) => event === "answered")?.by, "system");
  const { dockerfile } = await berth.container("died-plain");
  const image = (await (await berth.call(`/docker/images/${dockerfile.id}/history`)).json()) as object[];
  t.match(image.at(-1), { from: "validating", to: "ready", event: "resolved", by: "system", cause: null });
  await berth.call(`/docker/images/${dockerfile.id}/revalidate`);
  const again = (await (await berth.call(`/docker/images/${dockerfile.id}/history`)).json()) as object[];
  t.ok(again.some((line) => "by" in line && line.by === me.id));
  const unknown = "3f1c9a52-7b0e-4d16-9a41-0123456789ab";
  for (const kind of ["containers", "images"]) t.equal((await berth.call(`/docker/${kind}/${unknown}/history`)).status, 404, kind);
});
