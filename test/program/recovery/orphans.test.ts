import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import t from "tap";
import { ADMIN_KEY, startBerth } from "../../fixtures/berth.ts";
import { openStand } from "./stand.ts";
import { eventually, PATIENCE_MS } from "../../fixtures/eventually.ts";

/** What runs with berth's labels and belongs to nothing: only what this store issued and removed goes by itself. */
const stand = await openStand(t, "orphans", { keep: { image: "plain" }, gone: { image: "plain" } });
const { docker, environment, env } = stand;
const BERTH = join(import.meta.dirname, "../../../berth.ts");

const labelsOf = async (id: string) => (await docker.getContainer(id).inspect()).Config.Labels;
const exists = (service: string) => docker.getContainer(service).inspect().then(() => true, () => false); // prettier-ignore

/** What another program, or an earlier berth, made with these labels. */
async function plant(service: string, image: string, labels: Record<string, string>): Promise<string> {
  const name = `${environment}-${service}`;
  const made = await docker.createContainer({ name, Image: image, Labels: { "berth.environment": environment, "berth.generation": "1", ...labels } });
  await made.start();
  return name;
}

type Listed = { service: string; why: string; store: string };
const listed = async () => {
  const orphanList = (await (await stand.berth().call("/admin/orphans")).json()) as Listed[];
  return Object.fromEntries(orphanList.filter(({ service }) => service.startsWith(environment)).map(({ service, why }) => [service, why]));
};
const cli = (...args: string[]) =>
  spawnSync(process.execPath, [BERTH, "orphans", ...args], {
    encoding: "utf8",
    cwd: stand.data,
    timeout: PATIENCE_MS,
    env: { PATH: process.env["PATH"] ?? "", BERTH_DATA: join(stand.data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY, ...env },
  });

t.test("what this store issued and removed is deleted, whichever program started it; the rest stays and is reported", async (t) => {
  await stand.run("keep");
  await stand.run("gone");
  const [kept = ""] = await stand.instances("keep");
  const { Image: image } = await docker.getContainer(kept).inspect();
  const { "berth.store": store = "" } = await labelsOf(kept);
  const { id: removed } = await stand.entity("gone");
  await stand.publish({ keep: { image: (await docker.getContainer(kept).inspect()).Config.Image } });
  await eventually("the removed one to go", async () => {
    const running = await docker.listContainers({ all: true, filters: { label: [`berth.container=${removed}`] } });
    return running.length === 0 ? true : undefined;
  });
  const tombstoned = await plant("tombstoned", image, { "berth.store": store, "berth.container": removed });
  const unknown = await plant("unknown", image, { "berth.store": store, "berth.container": randomUUID() });
  const foreign = await plant("foreign", image, { "berth.store": randomUUID(), "berth.container": removed });
  await eventually("the tombstoned one to go", async () => ((await exists(tombstoned)) ? undefined : true));
  t.same(await listed(), { [unknown]: "unknown id", [foreign]: "another store" });
  t.ok(await exists(unknown));
  t.ok(await exists(foreign));
});

t.test("berth orphans lists them, and removes what is named and confirmed", async (t) => {
  const [unknown = "", foreign = ""] = Object.keys(await listed())
    .toSorted()
    .toReversed();
  const list = cli();
  t.equal(list.status, 0, list.stderr);
  t.match(list.stdout, unknown);
  t.match(list.stdout, foreign);
  t.match(cli("--remove", unknown).stdout, /--yes/);
  t.ok(await exists(unknown), "not without a confirmation");
  t.not(cli("--remove", "--yes").status, 0, "and not without saying which");
  t.not(cli("--remove", "--yes", (await stand.entity("keep")).serviceName).status, 0, "what is no orphan is not removed");
  t.match(cli("--remove", "--yes", unknown).stdout, /Removed/);
  t.notOk(await exists(unknown));
  t.same(Object.keys(await listed()), [foreign]);
  t.equal((await stand.instances("keep")).length, 1);
});

t.test("only administrators are shown them", async (t) => {
  const { berth } = stand;
  const body = (value: object) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });
  await berth().call("/users", body({ login: "eve" }));
  const { key } = (await (await berth().call("/users/eve/keys", body({}))).json()) as { key: string };
  const login = await fetch(`${berth().api}/users/login/dev?administration=true`, { method: "POST", headers: { authorization: `Dev ${key}` } });
  const { token } = (await login.json()) as { token: string };
  for (const method of ["GET", "DELETE"]) {
    const answer = await berth().call("/admin/orphans?service=any", { method, headers: { authorization: token } });
    t.equal(answer.status, 403, method);
  }
});

t.test("a berth with an empty data folder removes nothing, and says what it found", async (t) => {
  const [kept = ""] = await stand.instances("keep");
  const fresh = await startBerth({ data: t.testdir(), env });
  t.teardown(() => fresh.stop());
  const orphans = (await (await fresh.call("/admin/orphans")).json()) as Listed[];
  const { serviceName } = await stand.entity("keep");
  t.match(
    orphans.find(({ service }) => service === serviceName),
    { why: "another store" },
  );
  await eventually("it to have looked", async () => fresh.output().includes(serviceName));
  t.same(await stand.instances("keep"), [kept]);
  t.equal((await docker.getContainer(kept).inspect()).State.Running, true);
});
