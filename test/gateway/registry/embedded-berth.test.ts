import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ADMIN_KEY, startBerth } from "../../fixtures/berth.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { distributions, openOwn } from "./own-registry.ts";
import { digestOf, MANIFEST } from "./registry-client.ts";
import { run } from "./run.ts";
import { openTokenServer } from "./token-server.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { pause } from "../../fixtures/clock.ts";

const ROOT = join(import.meta.dirname, "../../..");

t.test("an image is pushed with a developer key and pulled without one; retention and garbage collection free disk space", async (t) => {
  const { push, status, command, data } = await openOwn(t);
  for (const tag of ["1", "2", "3"]) {
    await push("datagrok/a", tag, `layer of ${tag}`);
    // Tags are ordered by when they were pushed; the clock of the disk is coarse.
    await pause(20);
  }
  await push("datagrok/b", "only", "another layer");
  const accept = { headers: { accept: MANIFEST } };
  t.equal(await status("/v2/datagrok/a/manifests/1", accept), 200);

  t.equal((await command("retain")).code, 2);
  const dry = await command("retain", "--keep", "2", "--dry-run");
  t.equal(dry.code, 0, dry.out);
  t.match(dry.out, /datagrok\/a +1 .*would go\n/);
  t.equal(await status("/v2/datagrok/a/manifests/1", accept), 200);
  const kept = await command("retain", "--keep", "2");
  t.equal(kept.code, 0, kept.out);
  t.equal(await status("/v2/datagrok/a/manifests/1", accept), 404);
  for (const path of ["/v2/datagrok/a/manifests/2", "/v2/datagrok/a/manifests/3", "/v2/datagrok/b/manifests/only"])
    t.equal(await status(path, accept), 200);

  const blobs = () =>
    readdirSync(join(data, "berth-data/registry/images/docker/registry/v2/blobs/sha256"), { recursive: true }).filter((name) =>
      String(name).endsWith("data"),
    ).length;
  const before = blobs();
  const files = () => readdirSync(join(data, "berth-data/registry")).toSorted();
  const filesBefore = files();
  t.match(await command("gc", "--dry-run"), { code: 0, out: /^Would remove 2 / });
  t.equal(blobs(), before);
  t.same(files(), filesBefore, "who only looks leaves nothing behind");
  // As another user left it, who looked before this was so.
  writeFileSync(join(data, "berth-data/registry/garbage.yml"), "", { mode: 0o400 });
  // Readers notice nothing meanwhile.
  const over = new AbortController();
  const statuses: number[] = [];
  const reading = (async () => {
    do statuses.push(await status("/v2/datagrok/a/manifests/3", accept));
    while (!over.signal.aborted);
  })();
  t.match(await command("gc"), { code: 0, out: /^Removed 2 / });
  over.abort();
  await reading;
  t.same([...new Set(statuses)], [200]);
  t.equal(blobs(), before - 2);
  await push("datagrok/a", "4", "pushed after it");
  t.equal(await status(`/v2/datagrok/a/blobs/${digestOf("layer of 3")}`), 200);
});

t.test("where there never was a registry, there is no garbage, and none is made by looking", async (t) => {
  const data = tempFolder(t);
  const env = { PATH: process.env["PATH"] ?? "", BERTH_DATA: join(data, "berth-data"), BERTH_REGISTRY: "embedded", XDG_RUNTIME_DIR: data };
  for (const args of [["gc", "--dry-run"], ["gc"]])
    t.match(await run(process.execPath, [join(ROOT, "berth.ts"), "registry", ...args], { env }), { code: 0, output: "There is no garbage.\n" });
  t.notOk(existsSync(join(data, "berth-data")));
});

t.test("a delete takes an admin's token: who may push may not", async (t) => {
  const { push, status, token, berth } = await openOwn(t);
  const digest = await push("datagrok/c", "x", "to be deleted");
  const headers = { "content-type": "application/json" };
  t.ok((await berth.call("/users", { method: "POST", headers, body: JSON.stringify({ login: "bert" }) })).ok);
  const { key } = (await (await berth.call("/users/bert/keys", { method: "POST", headers, body: "{}" })).json()) as { key: string };
  const remove = async (of?: string) => {
    const authorization = of === undefined ? {} : { authorization: `Bearer ${await token([`repository:datagrok/c:pull,push,delete`], of)}` };
    return status(`/v2/datagrok/c/manifests/${digest}`, { method: "DELETE", headers: authorization });
  };
  // A repository of his own: the other belongs to who pushed it first.
  const pushes = { authorization: `Bearer ${await token(["repository:datagrok/d:pull,push,delete"], key)}` };
  t.equal(await status("/v2/datagrok/d/blobs/uploads/", { method: "POST", headers: pushes }), 202);
  t.equal(await remove(), 401);
  t.equal(await remove(key), 401);
  t.equal(await remove(ADMIN_KEY), 202);
});

t.test("the former image of a tag that was pushed again is deleted a day later", async (t) => {
  const { push, data, command, status } = await openOwn(t);
  const digests: string[] = [];
  for (const layer of ["first", "second", "third"]) digests.push(await push("datagrok/a", "login", layer));
  const [first = "", second = "", third = ""] = digests;
  const images = join(data, "berth-data/registry/images/docker/registry/v2");
  const long = new Date(Date.now() - 25 * 3_600_000);
  utimesSync(join(images, "repositories/datagrok/a/_manifests/revisions/sha256", first.slice("sha256:".length), "link"), long, long);
  const { code, out } = await command("retain", "--keep", "1");
  t.equal(code, 0, out);
  t.match(await command("gc"), { code: 0, out: /^Removed 2 / });
  const statuses = [first, second, third].map((digest) => status(`/v2/datagrok/a/manifests/${digest}`, { headers: { accept: MANIFEST } }));
  t.same(await Promise.all(statuses), [404, 200, 200]);
});

t.test("once berth has stopped, or was killed, its images are there again; commands work without it too", async (t) => {
  const data = tempFolder(t);
  const env = { BERTH_DRIVER: "process", BERTH_REGISTRY: "embedded", BERTH_REGISTRY_PORT: "0", XDG_RUNTIME_DIR: data };
  const first = await startBerth({ data, env });
  await first.kill();
  const second = await startBerth({ data, env });
  await second.stop();
  const child = spawn(process.execPath, [join(ROOT, "berth.ts"), "registry", "gc"], {
    cwd: data,
    stdio: "ignore",
    env: { PATH: process.env["PATH"] ?? "", BERTH_DATA: join(data, "berth-data"), ...env },
  });
  t.same(await once(child, "exit"), [0, null]);
});

t.test("clients continue when Distribution dies, and a berth that stops or is killed leaves none behind", async (t) => {
  const { berth, data, base, push, status } = await openOwn(t);
  const digest = await push("datagrok/a", "1", "a layer");
  const [first = 0, ...others] = distributions(data);
  t.ok(first > 0 && others.length === 0);
  process.kill(first, "SIGKILL");
  await eventually("an answer", async () => (await status(`/v2/datagrok/a/manifests/${digest}`, { headers: { accept: MANIFEST } })) === 200);
  await push("datagrok/a", "2", "another layer");

  const host = new URL(base).host;
  const policy = ["--insecure-policy", "--tmpdir", tempFolder(t)];
  const [from, to] = [`docker://${host}/datagrok/a:2`, `docker://${host}/datagrok/copied:2`];
  const copied = await run("skopeo", [
    ...policy,
    "copy",
    "--src-tls-verify=false",
    "--dest-tls-verify=false",
    "--dest-creds",
    `any:${ADMIN_KEY}`,
    from,
    to,
  ]);
  t.equal(copied.code, 0, copied.output);
  t.match(await run("skopeo", [...policy, "list-tags", "--tls-verify=false", `docker://${host}/datagrok/copied`]), { code: 0, output: /"2"/ });

  await berth.kill();
  await eventually("it to be gone", async () => distributions(data).length === 0);
});

t.test("an image that a container is to use is kept, however old", async (t) => {
  const { berth, push, command } = await openOwn(t);
  const demo = join(ROOT, "conf/demo/dockerfiles/square");
  const files = Object.fromEntries(readdirSync(demo).map((name) => [`dockerfiles/square/${name}`, readFileSync(join(demo, name), "utf8")]));
  t.equal((await berth.publish("kept", { "package.json": JSON.stringify({ name: "kept", version: "1.0.0" }), ...files })).status, 200);
  const { imageRef } = (await berth.container("kept-square")).dockerfile as unknown as { imageRef: string };
  const [repository = "", tag = ""] = imageRef.split(":");
  await push(repository, tag, "what the container runs");
  await pause(20);
  for (const newer of ["8", "9"]) {
    await push(repository, newer, `layer of ${newer}`);
    await pause(20);
  }
  const { code, out } = await command("retain", "--keep", "1");
  t.equal(code, 0, out);
  t.match(out, new RegExp(`${repository} +8 .*removed`));
  t.match(out, new RegExp(`${repository} +${tag} .*kept: used`));
  await berth.stop();
  t.equal((await command("retain", "--keep", "1")).code, 5, "only control knows what is used");
  t.equal((await command("retain", "--keep", "1", "--without-control")).code, 0);
});

t.test("berth registry alone knows its users by a Datagrok server", async (t) => {
  const data = tempFolder(t);
  const tokens = await openTokenServer(t);
  const env = {
    PATH: process.env["PATH"] ?? "",
    BERTH_DATA: join(data, "berth-data"),
    BERTH_REGISTRY_FOLDER: join(data, "images"),
    XDG_RUNTIME_DIR: data,
  };
  const more = { DATAGROK_URL: tokens.url, BERTH_REGISTRY_PORT: "0" };
  const child = spawn(process.execPath, [join(ROOT, "berth.ts"), "registry"], { cwd: data, env: { ...env, ...more } });
  let out = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece: Buffer) => (out += piece.toString()));
  t.teardown(() => child.kill("SIGKILL"));
  const base = await eventually("its address", async () => /registry at (\S+)/.exec(out)?.[1]);
  const begin = (headers: Record<string, string>) => fetch(`${base}/v2/a/blobs/uploads/`, { method: "POST", headers });
  t.equal((await begin({})).status, 401);
  const access = [{ type: "repository", name: "a", actions: ["pull", "push"] }];
  t.equal((await begin({ authorization: `Bearer ${await tokens.sign({ access })}` })).status, 202);
  t.match(out, /the registry is Distribution \d/);

  // A token without grants may be any user's: that is enough for pushing, and not for deleting.
  const remove = (authorization: string) =>
    fetch(`${base}/v2/a/manifests/sha256:${"0".repeat(64)}`, { method: "DELETE", headers: { authorization } });
  t.equal((await begin({ authorization: `Bearer ${await tokens.sign()}` })).status, 202);
  t.equal((await remove(`Bearer ${await tokens.sign()}`)).status, 401);
  t.equal((await remove(`Bearer ${await tokens.sign({ access: [{ type: "repository", name: "a", actions: ["delete"] }] })}`)).status, 404);
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  t.same(await ended, [0, null]);
  t.same(distributions(data), []);
});
