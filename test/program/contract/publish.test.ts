import { createHash } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { makeZip, renamed } from "../../control/packages/publish/fixtures/make-zip.ts";
import { type Entity, zipOf } from "../../fixtures/berth.ts";
import { appFiles, type Json, openStand, raw, UNKNOWN } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { pause } from "../../fixtures/clock.ts";

const MAX_PACKAGE_MB = 1;
const stand = await openStand(t, { BERTH_MAX_PACKAGE_MB: String(MAX_PACKAGE_MB) });
const { call, json, published } = stand;
const dev = { authorization: `Dev ${stand.key}` };
const proxied = async (id: string, path = "/") => (await call(`/docker/containers/proxy/${id}${path}`)).text();
const image = async (name: string) => (await stand.container(name)).dockerfile as Json;

/** As the publishing client computes it for a folder of plain files. */
function folderHash(files: Record<string, string>): string {
  const hash = createHash("sha256");
  for (const [name, content] of Object.entries(files).toSorted(([a], [b]) => (a < b ? -1 : 1))) hash.update(`file:${name}:`).update(content);
  return hash.digest("hex");
}
const hashOf = (files: Record<string, string>, folder: string) =>
  folderHash(Object.fromEntries(Object.entries(files).map(([path, content]) => [path.slice(`dockerfiles/${folder}/`.length), content])));
const imageJson = (folder: string, fields: object) => ({ [`dockerfiles/${folder}/image.json`]: JSON.stringify(fields) });

t.test("GET packages/dev/{name}/timestamps is an object, or an error that says why", async (t) => {
  for (const [path, headers] of [
    ["/packages/dev/walk/timestamps", dev],
    ["/packages/dev/@scope/walk/timestamps", dev],
    [`/packages/dev/${stand.key}/walk/timestamps`, {}],
    [`/packages/dev/${stand.key}/@scope/walk/timestamps`, {}],
  ] as const) {
    t.match(await raw(stand, "GET", path, headers), { status: 200, text: "{}" }, path);
  }
  const refused = await raw(stand, "GET", "/packages/dev/walk/timestamps", { authorization: "Dev nonsense" });
  t.match(JSON.parse(refused.text), { "#type": "ApiError", message: String });
});

t.test("POST packages/dev/{name} takes a raw ZIP, with a scope in the name and the key in the path too", async (t) => {
  const files = appFiles("app", "one");
  for (const [path, headers, name] of [
    ["/packages/dev/plain", dev, "plain"],
    ["/packages/dev/@scope/Scoped", dev, "@scope/Scoped"],
    [`/packages/dev/${stand.key}/keyed`, {}, "keyed"],
    [`/packages/dev/${stand.key}/@scope/keyed-scoped`, {}, "@scope/keyed-scoped"],
  ] as const) {
    const body = await zipOf({ "package.json": JSON.stringify({ name, version: "1.0.0" }), ...files });
    const { status, type, text } = await raw(stand, "POST", `${path}?debug=false&rebuild=false&dropDb=false`, headers, body);
    t.equal(status, 200, text);
    t.match(type, /^application\/json/);
    t.match(JSON.parse(text), { name, version: "1.0.0", warnings: { length: 0 } }, path);
  }
  t.equal((await image("scoped-app")).imageRef, `datagrok/scoped-app:1.0.0.${hashOf(files, "app").slice(0, 8)}`);
});

t.test("a Dockerfile directly in dockerfiles/ gives just the package's name", async (t) => {
  await published("Root", appFiles("", "root"));
  const root = await stand.container("root");
  t.match(root.dockerfile, { dockerName: "root", dockerfilePath: "dockerfiles/Dockerfile" });
});

t.test("a debug publish runs the developer's own, mutable tag", async (t) => {
  const { key, token } = await stand.person("anna");
  const first = await published("debugged", appFiles("app", "one"), { query: "?debug=true&rebuild=false&dropDb=false", key });
  t.equal(first.images[0].imageRef, "datagrok/debugged-app:anna");
  const as = (path: string) => call(path, { headers: { authorization: token } });
  const { id } = await stand.container("debugged-app");
  const resolved = async () => (await json(`/docker/images/${first.images[0].id}`)).logs as string;
  const before = await resolved();
  t.equal((await as(`/docker/containers/${id}/run?awaitStart=true`)).status, 200);
  t.not(await resolved(), before, "it was resolved anew for the start");
});

t.test("latest-compatible finds what can be run instead of building", async (t) => {
  const one = appFiles("app", "one");
  const [hash, other] = [hashOf(one, "app"), "0".repeat(64)];
  await published("compat", { ...one, ...imageJson("app", { image: "datagrok/compat-app:1.2.3.own", fallback: false }) }, { version: "1.2.3" });
  const ask = async (query: string) => {
    const answer = await call(`/docker/images/compat-app/latest-compatible${query}`);
    return answer.status === 200 ? answer.json() : answer.status;
  };
  const imageStatus = (hashMatch: boolean) => ({ image: "datagrok/compat-app:1.2.3.own", hashMatch });
  t.same(await ask(`?version=1.2.3&contentHash=${hash}`), imageStatus(true));
  t.same(await ask(`?version=2.0.0&contentHash=${hash}`), imageStatus(true), "the same content serves any version");
  t.same(await ask(`?version=1.2.9&contentHash=${other}`), imageStatus(false), "a later one of the same minor version");
  t.same(await ask(`?version=1.2.2&contentHash=${other}`), 404, "nothing earlier");
  t.same(await ask(`?version=1.3.0&contentHash=${other}`), 404);
  t.same(await ask(`?version=admin&contentHash=${other}`), imageStatus(false), "a debug publish asks with a login");
  t.same(await ask(""), imageStatus(false));
  t.equal((await call(`/docker/images/nothing/latest-compatible?version=1.2.3&contentHash=${hash}`)).status, 404);

  const two = appFiles("app", "two");
  await published("compat", { ...two, ...imageJson("app", { image: "datagrok/compat-app:1.2.3.own", fallback: true }) }, { version: "1.2.4" });
  t.same(await ask(`?version=1.2.4&contentHash=${hashOf(two, "app")}`), imageStatus(false), "a fallback was not built from the folder it runs for");
});

t.test("image.json: null, a fallback, and a fallback from the same content", async (t) => {
  const files = appFiles("app", "one");
  const none = await published("older", { ...files, ...imageJson("app", { image: null, fallback: true, requestedVersion: "1.0.0" }) });
  t.match(none.warnings, [/no image was published/]);
  t.equal(none.images[0].imageRef, `datagrok/older-app:1.0.0.${hashOf(files, "app").slice(0, 8)}`);
  const older = await published("older", { ...files, ...imageJson("app", { image: "datagrok/older-app:0.9.0", fallback: true, hashMatch: false }) });
  t.match(older.warnings, [/other content/]);
  t.equal(older.images[0].imageRef, "datagrok/older-app:0.9.0");
  const same = await published("older", { ...files, ...imageJson("app", { image: "datagrok/older-app:0.9.0", fallback: true, hashMatch: true }) });
  t.same(same.warnings, []);
});

t.test("a folder may name a published image and have no Dockerfile", async (t) => {
  const { images, containers } = await published("named", { "dockerfiles/db/container.json": '{"image":"postgres:16","port":5432}' });
  t.match(images, [{ name: "named-db", imageRef: "postgres:16", dockerfile: "" }]);
  t.match(containers, [{ name: "named-db", dockerImage: "postgres:16", port: 5432 }]);
});

t.test("container.json: both spellings of env, defaults, and warnings about unknown keys", async (t) => {
  const both = await published("spelt", { ...appFiles("a", "one", { env: { A: "1" } }), ...appFiles("b", "one", { environmentVars: { B: 2 } }) });
  t.match(both.containers, [{ environmentVars: { A: "1" } }, { environmentVars: { B: "2" } }]);
  t.match(both.containers, [{ config: { cpu: 0.25, memory: 512, gpu: 0, on_demand: false, shm_size: 64, storage: 21 } }]);
  const unknown = await published("spelt", appFiles("a", "one", { memroy: 1 }));
  t.match(unknown.warnings, [/"memroy".*did you mean memory/]);
  t.match((await image("spelt-a")).logs, /warning: .*memroy/, "in the image's log too, which consoles show");
  const wrong = await published("spelt", appFiles("a", "one", { memory: "much" }));
  t.match(wrong, { status: 400, code: "PACKAGE_INVALID" });
});

t.test("the port: container.json's, else the first EXPOSE, with a warning where there are several or none", async (t) => {
  const dockerfile = (expose: string) => ({ "dockerfiles/app/Dockerfile": `FROM node\n${expose}\nCMD ["node", "-v"]\n` });
  const first = await published("ports", dockerfile("EXPOSE 81 82"));
  t.match(first, { containers: [{ port: 81 }], warnings: [/exposes 81, 82; requests go to 81/] });
  const fields = await published("ports", { ...dockerfile("EXPOSE 81 82"), "dockerfiles/app/container.json": '{"port":83}' });
  t.match(fields, { containers: { length: 1, 0: { port: 83 } }, warnings: { length: 0 } });
  t.match((await published("ports", dockerfile(""))).warnings, [/no EXPOSE/]);
});

t.test("publishing again keeps ids, and replaces what runs after its open requests", async (t) => {
  const first = await published("again", appFiles("app", "one"));
  const id = first.containers[0]?.id ?? "";
  await call(`/docker/containers/${id}/run?awaitStart=true`);
  const open = proxied(id, "/slow");
  await pause(100);
  const second = await published("again", appFiles("app", "two"), { version: "1.0.1" });
  t.equal(second.containers[0]?.id, id);
  t.equal(second.images[0].id, first.images[0].id);
  t.equal(await open, "one", "an open request ends as it began");
  await eventually("the new one to answer", async () => (await proxied(id)) === "two");
  t.equal((await json<Entity>(`/docker/containers/${id}`)).status, "started");
});

t.test("where the new image is in error, the old one goes on, and the response says so", async (t) => {
  const { containers } = await published("broken", appFiles("app", "one"));
  const id = containers[0]?.id ?? "";
  await call(`/docker/containers/${id}/run?awaitStart=true`);
  await published("broken", { "dockerfiles/app/Dockerfile": "FROM node\nEXPOSE 8080\n" });
  t.equal((await image("broken-app")).status, "error");
  t.match((await image("broken-app")).logs, /broken-app goes on running what was published before/);
  t.equal(await proxied(id), "one");
  await published("broken", appFiles("app", "three"));
  await eventually("the good one to answer", async () => (await proxied(id)) === "three");
});

t.test("a folder that is gone takes its container along, and comes back with its id", async (t) => {
  const both = { ...appFiles("a", "one"), ...appFiles("b", "one") };
  const before = await published("folders", both);
  await published("folders", appFiles("a", "one"));
  t.equal((await call(`/docker/containers/${before.containers[1]?.id}`)).status, 404);
  const after = await published("folders", both);
  t.same(
    after.containers.map(({ id }) => id),
    before.containers.map(({ id }) => id),
  );
});

t.test("another user's package is not overwritten", async (t) => {
  await published("owned", appFiles("app", "one"));
  const { key } = await stand.person("carl");
  t.match(await published("owned", appFiles("app", "two"), { key }), { status: 403, code: "NOT_PERMITTED" });
});

/** All that publishing writes: the rows as clients see them, and the data folder's files. */
async function everything() {
  const files = readdirSync(join(stand.data, "berth-data"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.startsWith("packages") || path.startsWith("incoming"))
    .map((path) => `${path} ${statSync(join(stand.data, "berth-data", path), { throwIfNoEntry: false })?.size}`)
    .toSorted();
  // Of a container that is used, gateways report the time of its last request later.
  const containers = (await json<Entity[]>("/docker/containers")).map((one) => ({ ...one, lastActive: undefined }));
  return { containers, images: await json("/docker/images"), files };
}

const good = { "package.json": '{"name":"refused","version":"2.0.0"}', "dockerfiles/app/Dockerfile": "FROM node\nEXPOSE 1\nCMD node\n" };
const plain = await makeZip({ ...good, "dockerfiles/app/x": "xxxxxxxxxxxx" });
const REFUSED: readonly (readonly [what: string, zip: Buffer, status: number])[] = [
  ["a body beyond the size limit", Buffer.alloc(MAX_PACKAGE_MB * 1_048_576 + 1), 413],
  ["a bomb", await bomb(), 413],
  ["a path with ..", renamed(plain, "dockerfiles/app/x", "dockerfiles/../xx"), 400],
  ["an absolute path", renamed(plain, "dockerfiles/app/x", "/ockerfiles/app/x"), 400],
  ["a link", await makeZip({ ...good, "dockerfiles/app/link": "/etc/passwd" }, 0o120777), 400],
  ["a broken ZIP", plain.subarray(0, plain.length - 40), 400],
  ["no ZIP at all", Buffer.from("hello"), 400],
  ["no package.json", await makeZip({ "dockerfiles/app/Dockerfile": "FROM node\n" }), 400],
  ["another package's name", await makeZip({ ...good, "package.json": '{"name":"other","version":"1.0.0"}' }), 400],
];

/** 4 GB of zeros, in entries that each look harmless. */
async function bomb(): Promise<Buffer> {
  const one = await makeZip({ ...good, "dist/zeros": Buffer.alloc(100_000) });
  const lie = Buffer.from(one);
  for (let at = lie.indexOf("PK\u0001\u0002"); at >= 0; at = lie.indexOf("PK\u0001\u0002", at + 1)) {
    if (lie.toString("latin1", at + 46, at + 56) === "dist/zeros") lie.writeUInt32LE(0xffff_fff0, at + 24);
  }
  return lie;
}

t.test("what must not be published is refused with a sentence, and nothing of it is written", async (t) => {
  await published("refused", appFiles("app", "one"));
  const before = await everything();
  for (const [what, zip, status] of REFUSED) {
    const answer = await raw(stand, "POST", "/packages/dev/refused?debug=false", dev, zip);
    t.equal(answer.status, status, what);
    const { message, ...error } = JSON.parse(answer.text) as { message: string };
    t.match(error, { "#type": "ApiError", code: status === 413 ? "PACKAGE_TOO_LARGE" : "PACKAGE_INVALID" }, what);
    t.match(message, /\w+ .*\.$/s, what);
  }
  t.same(await everything(), before);
});

t.test("an upload that breaks off leaves nothing behind", async (t) => {
  const before = await everything();
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(plain.subarray(0, 100)),
    pull: async (controller) => {
      await pause(50);
      controller.error(new Error("gone"));
    },
  });
  await t.rejects(fetch(`${stand.api}/packages/dev/refused`, { method: "POST", headers: dev, body, duplex: "half" }));
  await eventually("what was received to be gone", async () => {
    const { files } = await everything();
    return files.length === before.files.length ? true : undefined;
  });
  t.same(await everything(), before);
  t.equal((await call(`/docker/containers/${UNKNOWN}`)).status, 404);
});
