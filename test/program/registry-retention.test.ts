import { readdirSync, readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { eventually } from "../fixtures/eventually.ts";
import { openOwn, type Own } from "../gateway/registry/own-registry.ts";
import { MANIFEST } from "../gateway/registry/registry-client.ts";
import { pause } from "../fixtures/clock.ts";

/** The hour of UTC in which this test still runs. */
const NOW = new Date(Date.now() + 60_000).getUTCHours();

/** The example of the page: a setting, and the command that shows what it would do. */
const PAGE = readFileSync(join(import.meta.dirname, "../../docs/registry-retention.md"), "utf8");
const [, RULES = "", DRY_RUN = ""] = /```sh\nexport BERTH_REGISTRY_RETENTION='(.*)'\nberth registry (.*)\n```/.exec(PAGE) ?? [];

const settings = (hour: number) => ({
  BERTH_REGISTRY_RETENTION: RULES,
  BERTH_REGISTRY_RETENTION_HOUR: String(hour % 24),
});
const pullOf =
  ({ status }: Own) =>
  (tag: string) =>
    status(`/v2/datagrok/ret-app/manifests/${tag}`, { headers: { accept: MANIFEST } });
const auditOf = async ({ berth }: Own) =>
  (await (await berth.call("/admin/audit?action=imagesRetained")).json()) as { login: string; target: string | null }[];

/** A registry with the tags pr-0 to pr-3, oldest first: pr-1 is of an earlier version of a package, pr-2 of its current one. */
async function openFilled(t: Test) {
  const own = await openOwn(t, settings(NOW + 12));
  const { berth, push, data } = own;
  const publish = async (tag: string) => {
    const published = await berth.publish("ret", {
      "package.json": JSON.stringify({ name: "ret", version: `${tag.slice(-1)}.0.0` }),
      "dockerfiles/app/Dockerfile": "FROM scratch\nEXPOSE 5000\n",
      "dockerfiles/app/container.json": JSON.stringify({ on_demand: true }),
      "dockerfiles/app/image.json": JSON.stringify({ image: `datagrok/ret-app:${tag}`, fallback: false }),
    });
    t.equal(published.status, 200, await published.text());
  };
  await publish("pr-1");
  await publish("pr-2");
  for (const tag of ["pr-0", "pr-1", "pr-2", "pr-3", "1.0.0"]) {
    await push("datagrok/ret-app", tag, `layer of ${tag}`);
    // Tags are ordered by when they were pushed; the clock of the disk is coarse.
    await pause(20);
  }
  const blobs = () =>
    readdirSync(join(data, "berth-data/registry/images/docker/registry/v2/blobs/sha256"), { recursive: true }).filter((name) =>
      String(name).endsWith("data"),
    ).length;
  const post = (body: object) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  return { own, pull: pullOf(own), blobs, post };
}

t.test("rules remove what neither they nor a package keep: first in a dry run, then the images, and garbage collection their layers", async (t) => {
  const { own, pull, blobs, post } = await openFilled(t);
  const { berth, command } = own;
  t.match(await (await berth.call("/admin/registry/retention")).json(), {
    rules: ["datagrok/*:pr-* keep=1", "datagrok/*@untagged days=7"],
    last: null,
  });
  const dry = await berth.call("/admin/registry/retention", post({ dryRun: true }));
  t.match(await dry.json(), { dryRun: true, removed: 1, kept: 4, images: [{ repository: "datagrok/ret-app", tags: ["pr-0"] }] });
  t.match(await command(...DRY_RUN.split(" ")), { code: 0, out: /pr-0 .*would go\n[^]*pr-3 .*kept: newest\n/ });
  t.equal(await pull("pr-0"), 200);
  const before = blobs();

  t.match(await (await berth.call("/admin/registry/retention", post({ dryRun: false }))).json(), { dryRun: false, removed: 1 });
  t.equal(await pull("pr-0"), 404);
  await berth.call("/admin/registry/garbage", post({ dryRun: false }));
  await eventually("the collection", async () => blobs() === before - 2);
  for (const tag of ["pr-1", "pr-2", "pr-3", "1.0.0"]) t.equal(await pull(tag), 200, tag);
  t.match(await (await berth.call("/admin/registry/retention")).json(), { last: { removed: 1, dryRun: false } });
  t.same(
    (await auditOf(own)).map(({ login, target }) => [login, target]),
    [
      ["admin", null],
      ["admin", "dry run"],
    ],
  );
  const refused = await fetch(`${berth.api}/admin/registry/retention`, post({ dryRun: false }));
  t.equal(refused.status, 401);
});

t.test("once a day the leader applies the rules, and collects garbage", async (t) => {
  const { own, blobs, post } = await openFilled(t);
  // An administrator of the name by which the log calls the leader.
  t.ok((await own.berth.call("/users", post({ login: "berth", admin: true }))).ok);
  const { key } = (await (await own.berth.call("/users/berth/keys", post({}))).json()) as { key: string };
  const { headers, ...request } = post({ dryRun: true });
  const dry = await fetch(`${own.berth.api}/admin/registry/retention`, { ...request, headers: { ...headers, authorization: `Dev ${key}` } });
  t.equal(dry.status, 200, await dry.text());
  const before = blobs();
  await own.berth.stop();
  const later = await openOwn(t, settings(NOW), own.data);
  await eventually("the run of today", async () => (await auditOf(later)).length === 2);
  t.match(await auditOf(later), [
    { login: "berth", target: "1 image removed" },
    { login: "berth", target: "dry run" },
  ]);
  await eventually("the collection", async () => blobs() === before - 2);
  const pull = pullOf(later);
  t.equal(await pull("pr-0"), 404);
  for (const tag of ["pr-1", "pr-2", "pr-3", "1.0.0"]) t.equal(await pull(tag), 200, tag);
});

t.test("links that a full disk left empty keep no garbage from being collected, and their images stay", async (t) => {
  const own = await openOwn(t);
  const { command, push, status, data } = own;
  for (const tag of ["1", "2"]) await push("datagrok/a", tag, `layer of ${tag}`);
  const folder = join(data, "berth-data/registry/images/docker/registry/v2/repositories/datagrok/a");
  const links = () => readdirSync(folder, { recursive: true }).filter((name) => String(name).endsWith("link"));
  const before = links();
  for (const link of before) truncateSync(join(folder, String(link)));
  t.match(await command("gc", "--dry-run"), { code: 1, out: /an empty link or manifest.* A collection repairs it/ });
  t.match(await command("gc"), { code: 0, out: /There is no garbage/ });
  t.same(links(), before);
  for (const tag of ["1", "2"]) t.equal(await status(`/v2/datagrok/a/manifests/${tag}`, { headers: { accept: MANIFEST } }), 200, tag);

  // A manifest that was not written whole is gone, and can be pushed again.
  const blobs = join(data, "berth-data/registry/images/docker/registry/v2/blobs/sha256");
  const digest = await push("datagrok/a", "3", "layer of 3");
  const hex = digest.slice("sha256:".length);
  truncateSync(join(blobs, hex.slice(0, 2), hex, "data"));
  t.match(await command("gc", "--dry-run"), { code: 1, out: /an empty link or manifest/ });
  t.match(await command("gc"), { code: 0 });
  const pull = (tag: string) => status(`/v2/datagrok/a/manifests/${tag}`, { headers: { accept: MANIFEST } });
  t.equal(await pull("3"), 404);
  await push("datagrok/a", "3", "layer of 3");
  t.equal(await pull("3"), 200);
  t.match(await command("retain", "--keep", "2"), { code: 0, out: /datagrok\/a +1 .*removed/ });
});
