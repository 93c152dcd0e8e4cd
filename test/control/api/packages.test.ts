import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { createImagePolicy } from "../../../control/lifecycle/image-policy.ts";
import { openPackageFiles } from "../../../control/packages/publish/package-files.ts";
import { systemClock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { raceAbort } from "../../../lib/deadline.ts";
import { createStillClock, turns } from "../../fixtures/clock.ts";
import { makeZip, renamed } from "../packages/publish/fixtures/make-zip.ts";

import { ADMIN_KEY, MAX_PACKAGE_BYTES, openApiFixture, type ApiFixture, isStoreShared } from "./fixtures/open-api-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const DOCKERFILE = "FROM a\nEXPOSE 80\n";
const PACKAGE_JSON = JSON.stringify({ name: "walk", version: "1.0.0" });
const dev = { authorization: `Dev ${ADMIN_KEY}` };

/** Nothing of a refused package is left: no row, and no file beyond those of a store and an empty folder. */
async function nothingLeft(t: Test, { store, folder }: ApiFixture): Promise<void> {
  t.same([await store.packages.all(), await store.images.all(), await store.containers.all()], [[], [], []]);
  t.same(readdirSync(join(folder, "incoming")), []);
  t.equal(existsSync(join(folder, "packages")), false);
}

t.test("a package makes an image and a container for each of its folders, and the lifecycle is notified", async (t) => {
  const { publish, commands, store, folder } = await openApiFixture(t);
  const { status, json } = await publish("@datagrok/Walk", {
    "dockerfiles/Dockerfile": DOCKERFILE,
    "dockerfiles/app/Dockerfile": DOCKERFILE,
    "dockerfiles/app/container.json": '{"on_demand":true,"memmory":1}',
    "dockerfiles/app/src/main.js": "1",
    "dist/package.js": "not ours",
  });
  t.equal(status, 200);
  t.match(json, { "#type": "Package", name: "@datagrok/Walk", version: "1.0.0", warnings: [/"memmory"/] });
  t.same(
    json.containers.map(({ name, status: state }: { name: string; status: string }) => [name, state]),
    [
      ["walk", "stopped by user"],
      ["walk-app", "stopped by system"],
    ],
  );
  t.same(
    new Set(commands),
    new Set([...json.images.map(({ id }: { id: string }) => `validate ${id}`), ...json.containers.map(({ id }: { id: string }) => `defined ${id}`)]),
  );
  const [root, app] = await Promise.all(
    json.images.map(async ({ id }: { id: string }) => join(folder, (await store.images.find(id))?.files ?? "missing")),
  );
  t.same(readdirSync(root).toSorted(), ["Dockerfile", "app"]);
  t.equal(readFileSync(join(app, "src/main.js"), "utf8"), "1");
});

t.test("every shape of the address is understood", async (t) => {
  const { call } = await openApiFixture(t);
  for (const [path, name, headers] of [
    ["/packages/dev/walk", "walk", dev],
    ["/packages/dev/@datagrok/walk", "@datagrok/walk", dev],
    ["/packages/dev/%40datagrok%2Fwalk", "@datagrok/walk", dev],
    [`/packages/dev/${ADMIN_KEY}/walk`, "walk", {}],
    [`/packages/dev/${ADMIN_KEY}/@datagrok/walk`, "@datagrok/walk", {}],
  ] as const) {
    const timestamps = await call(`${path}/timestamps`, { headers });
    t.equal(timestamps.status, 200, path);
    t.equal(timestamps.text, "{}");
    const body = await makeZip({ "package.json": JSON.stringify({ name, version: "1.0.0" }) });
    const { status, json } = await call(`${path}?debug=false&rebuild=false&dropDb=false`, { method: "POST", headers, body });
    t.equal(status, 200, path);
    t.equal(json.name, name);
  }
});

t.test("the audit log names the package that was published, which the address may name without its scope", async (t) => {
  const { call, store } = await openApiFixture(t);
  const body = await makeZip({ "package.json": JSON.stringify({ name: "@datagrok/walk", version: "1.0.0" }) });
  t.equal((await call("/packages/dev/walk", { method: "POST", headers: dev, body })).status, 200);
  t.match(await store.audit.list({ limit: 1 }), [{ action: "packagePublished", target: "@datagrok/walk" }]);
});

t.test("what a user uploads is not published if the user was blocked, or the key revoked, meanwhile", async (t) => {
  const { upload, incoming, addUser, identity, admin, store } = await openApiFixture(t);
  const body = await makeZip({ "package.json": PACKAGE_JSON });
  const { user, key, token } = await addUser("anna");
  const { key: leaked, kept } = await identity.users.addKey("anna", "leaked");
  const ends: [headers: Record<string, string>, end: () => Promise<unknown>, status: number][] = [
    [{ authorization: `Dev ${leaked}` }, () => identity.users.revokeKey("anna", kept.id), 401],
    [{ authorization: token }, () => identity.endSession(token), 401],
    [{ authorization: `Dev ${key}` }, () => identity.users.block("anna", admin), 403],
  ];
  for (const [headers, end, status] of ends) {
    const sending = upload("/packages/dev/walk", headers);
    sending.write(body.subarray(0, 100));
    await eventually("the upload begins", () => incoming() === 1);
    await end();
    sending.end(body.subarray(100));
    t.equal((await sending.response).status, status, String(end));
  }
  t.same(await store.packages.all(), []);
  t.equal((await store.users.find(user.id))?.login, "anna");
});

t.test("a wrong key is refused as the client understands it; a session will do", async (t) => {
  const { call, token } = await openApiFixture(t);
  const body = await makeZip({ "package.json": PACKAGE_JSON });
  for (const [path, headers] of [
    ["/packages/dev/walk", { authorization: "Dev wrong" }],
    ["/packages/dev/wrong/walk", {}],
  ] as const) {
    t.match(await call(`${path}/timestamps`, { headers }), { status: 401, json: { "#type": "ApiError", code: "DEV_KEY_INVALID" } });
    t.match(await call(path, { method: "POST", headers, body }), { status: 401, json: { "#type": "ApiError", code: "DEV_KEY_INVALID" } });
  }
  t.match(await call("/packages/dev/walk", { method: "POST", body }), { status: 401, json: { code: "TOKEN_MISSING" } });
  t.match(await call("/packages/dev/walk", { method: "POST", body, headers: { cookie: `auth=${token}` } }), {
    status: 403,
    json: { code: "ORIGIN_NOT_PERMITTED" },
  });
  t.equal((await call("/packages/dev/walk", { method: "POST", body, headers: { authorization: token } })).status, 200);
});

t.test("the body is taken whatever its Content-Type says", async (t) => {
  const { call } = await openApiFixture(t);
  const body = await makeZip({ "package.json": PACKAGE_JSON });
  for (const type of ["application/zip", "application/json", "text/plain", "application/x-www-form-urlencoded"]) {
    t.equal((await call("/packages/dev/walk", { method: "POST", headers: { ...dev, "content-type": type }, body })).status, 200, type);
  }
});

t.test("published again, ids stay, and the generation is raised where the definition changed", async (t) => {
  const { publish, store, folder } = await openApiFixture(t);
  const files = { "dockerfiles/app/Dockerfile": DOCKERFILE, "dockerfiles/db/container.json": '{"image":"postgres:16"}' };
  const first = (await publish("walk", files)).json;
  const generations = async () => (await store.containers.all()).map(({ name, generation }) => [name, generation]);
  const same = (await publish("walk", files)).json;
  t.same(
    same.containers.map(({ id }: { id: string }) => id),
    first.containers.map(({ id }: { id: string }) => id),
  );
  t.same(
    same.images.map(({ id }: { id: string }) => id),
    first.images.map(({ id }: { id: string }) => id),
  );
  t.same(
    same.containers.map(({ serviceName }: { serviceName: string }) => serviceName),
    first.containers.map(({ serviceName }: { serviceName: string }) => serviceName),
  );
  t.equal(same.id, first.id);
  t.same(
    await generations(),
    [
      ["walk-app", 1],
      ["walk-db", 1],
    ],
    "nothing changed",
  );

  await publish("walk", { ...files, "dockerfiles/app/main.js": "new" });
  t.same(
    await generations(),
    [
      ["walk-app", 2],
      ["walk-db", 1],
    ],
    "a file of one folder",
  );
  await publish("walk", { ...files, "dockerfiles/app/main.js": "new", "dockerfiles/db/container.json": '{"image":"postgres:17"}' });
  t.same(
    await generations(),
    [
      ["walk-app", 2],
      ["walk-db", 2],
    ],
    "the image of the other",
  );
  await publish("walk", {
    ...files,
    "dockerfiles/app/main.js": "newer",
    "dockerfiles/app/container.json": '{"cpu":2,"env":{"A":"1"}}',
    "dockerfiles/db/container.json": '{"image":"postgres:17"}',
  });
  t.same(
    await generations(),
    [
      ["walk-app", 3],
      ["walk-db", 2],
    ],
    "its settings",
  );

  const app = await store.images.find(first.images[0].id);
  t.equal(readFileSync(join(folder, app?.files ?? "", "main.js"), "utf8"), "newer");
  t.equal(readdirSync(join(folder, app?.files ?? "", "..")).length, 2, "this version and the one that may still run");
});

t.test("a container that runs is left running by a publish; what to do about it follows from the generation", async (t) => {
  const { publish, store } = await openApiFixture(t);
  const { json } = await publish("walk", { "dockerfiles/app/Dockerfile": DOCKERFILE });
  const [{ id }] = json.containers;
  await store.containers.move(id, "USER_STOPPED", "STARTED", { desiredInstances: 1, runningGeneration: 1 });
  await publish("walk", { "dockerfiles/app/Dockerfile": "FROM a\nEXPOSE 81\n" });
  t.match(await store.containers.find(id), { state: "STARTED", desiredInstances: 1, runningGeneration: 1, generation: 2, config: { port: 81 } });
});

t.test("what a package no longer has is gone for clients, and comes back under its old id", async (t) => {
  const { publish, store, get, commands } = await openApiFixture(t);
  const both = { "dockerfiles/app/Dockerfile": DOCKERFILE, "dockerfiles/db/container.json": '{"image":"postgres:16"}' };
  const { json } = await publish("walk", both);
  const [app, db] = json.containers.map(({ id }: { id: string }) => id);
  await store.containers.move(db, "USER_STOPPED", "STARTED", { desiredInstances: 1 });
  commands.length = 0;

  await publish("walk", { "dockerfiles/app/Dockerfile": DOCKERFILE });
  t.ok(commands.includes(`removed ${db}`));
  t.equal(await store.containers.find(db), undefined);
  t.match((await get(`/docker/images/${json.images[1].id}`)).json, { status: "deleted" });
  t.same(
    (await get("/docker/containers")).json.map(({ id }) => id),
    [app],
  );
  t.equal((await get(`/docker/containers/${db}`)).status, 404);
  t.equal((await get(`/docker/containers/${db}/run`)).status, 400);

  const again = (await publish("walk", both)).json;
  t.same(
    again.containers.map(({ id }: { id: string }) => id),
    [app, db],
  );
  t.match((await get(`/docker/images/${json.images[1].id}`)).json, { status: "pending validation" });
});

t.test("only the package of a deleted container may use its id again", async (t) => {
  const { publish, get } = await openApiFixture(t);
  const files = { "dockerfiles/Dockerfile": DOCKERFILE };
  const [container] = (await publish("walk", files)).json.containers;
  await get(`/docker/containers/${container.id}`, { method: "DELETE" });
  const headers = { "content-type": "application/json" };
  const saved = await get("/docker/containers", { method: "POST", headers, body: Buffer.from(JSON.stringify(container)) });
  t.match(saved, { status: 400, json: { code: "REQUEST_INVALID" } });
  t.match(await publish("walk", files), { status: 200, json: { containers: [{ id: container.id }] } });
});

t.test("a debug publish runs the developer's own tag", async (t) => {
  const { publish, addUser } = await openApiFixture(t);
  const { key } = await addUser("anna");
  const { json } = await publish(
    "walk",
    { "dockerfiles/app/Dockerfile": DOCKERFILE },
    { query: "?debug=true&rebuild=true&dropDb=false&suffix=x", key },
  );
  t.equal(json.images[0].imageRef, "datagrok/walk-app:anna");
});

t.test("only an admin publishes over another author's package", async (t) => {
  const { publish, addUser, call, store } = await openApiFixture(t);
  const [anna, bert] = [await addUser("anna"), await addUser("bert")];
  t.equal((await publish("walk", {}, { key: anna.key })).status, 200);
  t.match(await publish("walk", { "dockerfiles/x/Dockerfile": DOCKERFILE }, { key: bert.key }), {
    status: 403,
    json: { "#type": "ApiError", code: "NOT_PERMITTED" },
  });
  t.match(await call("/packages/dev/walk/timestamps", { headers: { authorization: `Dev ${bert.key}` } }), {
    status: 403,
    json: { code: "NOT_PERMITTED" },
  });
  t.equal((await publish("walk", {})).status, 200);
  t.equal((await store.packages.byName("walk"))?.authorId, anna.user.id, "the author stays");
});

const whole = await makeZip({ "package.json": PACKAGE_JSON, "dockerfiles/aa/Dockerfile": DOCKERFILE });
const REFUSED: readonly (readonly [what: string, body: Buffer, status: number, code: string])[] = [
  ["no body", Buffer.alloc(0), 400, "PACKAGE_INVALID"],
  ["no ZIP", Buffer.from("hello"), 400, "PACKAGE_INVALID"],
  [
    "replicas, with a driver that has none",
    await makeZip({ "package.json": PACKAGE_JSON, "dockerfiles/a/Dockerfile": "FROM x\n", "dockerfiles/a/container.json": '{"replicas":{"max":2}}' }),
    400,
    "PACKAGE_INVALID",
  ],
  ["a truncated ZIP", whole.subarray(0, -10), 400, "PACKAGE_INVALID"],
  ["a name with ..", renamed(whole, "dockerfiles/aa/Dockerfile", "dockerfiles/../Dockerfile"), 400, "PACKAGE_INVALID"],
  ["a link", await makeZip({ "package.json": PACKAGE_JSON, "dockerfiles/a/Dockerfile": "/etc/passwd" }, 0o120777), 400, "PACKAGE_INVALID"],
  ["a bomb", await makeZip({ "package.json": PACKAGE_JSON, "dockerfiles/a/zeros": Buffer.alloc(5_000_000) }), 413, "PACKAGE_TOO_LARGE"],
  ["too many bytes", Buffer.alloc(MAX_PACKAGE_BYTES + 1), 413, "PACKAGE_TOO_LARGE"],
  [
    "an endless Dockerfile",
    await makeZip({ "package.json": PACKAGE_JSON, "dockerfiles/a/Dockerfile": "#\n".repeat(500_000) }),
    400,
    "PACKAGE_INVALID",
  ],
  ["an endless package.json", await makeZip({ "package.json": `${PACKAGE_JSON}${" ".repeat(1_000_000)}` }), 400, "PACKAGE_INVALID"],
  ["no package.json", await makeZip({ "dockerfiles/a/Dockerfile": DOCKERFILE }), 400, "PACKAGE_INVALID"],
  ["a package.json that is no JSON", await makeZip({ "package.json": "{" }), 400, "PACKAGE_INVALID"],
  ["another package's", await makeZip({ "package.json": '{"name":"other","version":"1.0.0"}' }), 400, "PACKAGE_INVALID"],
  [
    "a wrong value in one of two folders",
    await makeZip({ "package.json": PACKAGE_JSON, "dockerfiles/a/Dockerfile": DOCKERFILE, "dockerfiles/b/container.json": '{"cpu":"x"}' }),
    400,
    "PACKAGE_INVALID",
  ],
];

t.test("a bad package is refused with a sentence, and nothing of it is kept", async (t) => {
  const stand = await openApiFixture(t);
  for (const [what, body, status, code] of REFUSED) {
    const answer = await stand.call("/packages/dev/walk", { method: "POST", headers: dev, body });
    t.equal(answer.status, status, what);
    t.match(answer.json, { "#type": "ApiError", code, message: /^[A-Z].*\.$/i }, what);
    await nothingLeft(t, stand);
  }
  t.equal((await stand.publish("walk", {})).status, 200, "and a good one is welcome afterwards");
});

t.test("a client that goes away in the middle of its package leaves nothing", async (t) => {
  const stand = await openApiFixture(t);
  const client = new AbortController();
  const upload = request({
    socketPath: stand.socketPath,
    path: "/api/packages/dev/walk",
    method: "POST",
    headers: { ...dev, "content-length": "1000" },
    signal: client.signal,
  });
  const gone = new Promise((resolve) => upload.once("error", resolve));
  upload.write(whole.subarray(0, 100));
  const incoming = () => readdirSync(join(stand.folder, "incoming")).length;
  await eventually("the upload begins", () => incoming() === 1);
  client.abort();
  await gone;
  await eventually("the upload is removed", () => incoming() === 0);
  await nothingLeft(t, stand);
});

t.test("uploads that drip keep no other user from publishing", async (t) => {
  const stand = await openApiFixture(t);
  const { key } = await stand.addUser("mallory");
  const client = new AbortController();
  const headers = { authorization: `Dev ${key}`, "content-length": "1000" };
  for (let number = 0; number < 12; number++) {
    const upload = request({ socketPath: stand.socketPath, path: `/api/packages/dev/drip${number}`, method: "POST", headers, signal: client.signal });
    upload.once("error", () => {});
    upload.write(whole.subarray(0, 100));
  }
  t.teardown(() => client.abort());
  const incoming = () => readdirSync(join(stand.folder, "incoming")).length;
  await eventually("the upload begins", () => incoming() === 12);
  t.equal((await stand.publish("walk", { "dockerfiles/app/Dockerfile": DOCKERFILE })).status, 200);
  client.abort();
  await eventually("the upload is removed", () => incoming() === 0);
});

t.test("a client that sends a package too slowly gets that as the reason", async (t) => {
  const clock = createStillClock();
  const stand = await openApiFixture(t, {}, clock);
  const upload = request({
    socketPath: stand.socketPath,
    path: "/api/packages/dev/walk",
    method: "POST",
    headers: { ...dev, "content-length": "1000" },
  });
  const answered = new Promise<number>((resolve) => upload.once("response", (response) => resolve(response.resume().statusCode ?? 0)));
  upload.write(whole.subarray(0, 100));
  await eventually("the upload begins", () => existsSync(join(stand.folder, "incoming")) && readdirSync(join(stand.folder, "incoming")).length === 1);
  const [folder = ""] = readdirSync(join(stand.folder, "incoming"));
  await eventually("the package arrives", () => existsSync(join(stand.folder, "incoming", folder, "package.zip")));
  await clock.advance(60_000);
  t.equal(await answered, 408);
  upload.destroy();
  await nothingLeft(t, stand);
});

t.test("a store that cannot be written to leaves nothing half-published", async (t) => {
  const stand = await openApiFixture(t);
  const { staging, repositories } = stand.store;
  const { stage } = staging;
  const { claimAll } = repositories;
  const gone = () => {
    throw new Error("the disk is gone");
  };
  const files = { "dockerfiles/a/Dockerfile": DOCKERFILE, "dockerfiles/b/Dockerfile": DOCKERFILE };
  let calls = 0;
  for (const [when, fail] of [
    ["while it is staged", () => (staging.stage = (...folder) => (++calls === 2 ? gone() : stage(...folder)))],
    ["when its rows are written", () => (repositories.claimAll = gone)],
  ] as const) {
    fail();
    t.equal((await stand.publish("walk", files)).status, 500, when);
    t.same([await stand.store.packages.all(), await stand.store.images.all(), await stand.store.containers.all()], [[], [], []]);
    t.same(stand.commands, []);
    Object.assign(staging, { stage });
    Object.assign(repositories, { claimAll });
  }
  t.equal((await stand.publish("walk", files)).json.containers.length, 2);
});

t.test("a package that defines an imported image takes it and its container over with their ids", async (t) => {
  const { publish, store } = await openApiFixture(t);
  const files = { "dockerfiles/app/container.json": '{"image":"a"}', "dockerfiles/two/container.json": '{"image":"b"}' };
  await publish("walk", files);
  const [owner] = await store.packages.all();
  const [image, container] = [
    (await store.images.all()).find(({ folder }) => folder === "app"),
    (await store.containers.all()).find(({ folder }) => folder === "app"),
  ];
  if (!owner || !image || !container) throw new Error("nothing was published");
  const imported = await store.packages.insert({ ...owner, id: randomUUID(), name: "imported (admin)" });
  const imageId = randomUUID();
  const id = randomUUID();
  await store.images.insert({ ...image, id: imageId, packageId: imported.id, folder: "x", name: "hike-app" });
  await store.containers.insert({ ...container, id, packageId: imported.id, imageId, folder: "x", name: "old-name", service: "old" });
  t.equal((await publish("hike", files)).status, 200);
  const hike = await store.packages.byName("hike");
  t.match(await store.images.find(imageId), { packageId: hike?.id, folder: "app", state: "PENDING_VALIDATION" });
  t.match(await store.containers.find(id), { packageId: hike?.id, folder: "app", name: "hike-app", service: "old", imageId, generation: 2 });
  t.equal((await store.containers.byPackage(hike?.id ?? "")).length, 2);
});

t.test("a package takes over many imported images at once, of two of one name that with more containers", async (t) => {
  const { publish, store } = await openApiFixture(t);
  await publish("walk", { "dockerfiles/app/container.json": '{"image":"a"}' });
  const [[owner], [image], [container]] = [await store.packages.all(), await store.images.all(), await store.containers.all()];
  if (!owner || !image || !container) throw new Error("nothing was published");
  const imported = await store.packages.insert({ ...owner, id: randomUUID(), name: "imported (admin)" });
  const ordinary = await store.packages.insert({ ...owner, id: randomUUID(), name: "ordinary" });
  const add = async (packageId: string, name: string, services: readonly string[]) => {
    const imageId = randomUUID();
    await store.images.insert({ ...image, id: imageId, packageId, folder: imageId, name });
    for (const [nth, service] of services.entries()) {
      const folder = nth === 0 ? imageId : `${imageId}/${nth}`;
      await store.containers.insert({ ...container, id: randomUUID(), packageId, imageId, folder, name: service, service });
    }
    return imageId;
  };
  const numbers = Array.from({ length: 40 }, (_, n) => n);
  const best: string[] = [];
  for (const n of numbers) {
    await add(imported.id, `hike-a${n}`, []);
    best.push(await add(imported.id, `Hike-A${n}`, [`first${n}`, `second${n}`]));
  }
  const other = await add(ordinary.id, "hike-b", ["ordinary"]);
  await publish(
    "hike",
    Object.fromEntries([...numbers.map((n) => `a${n}`), "b"].map((name) => [`dockerfiles/${name}/container.json`, '{"image":"a"}'])),
  );
  const hike = await store.packages.byName("hike");
  for (const [n, id] of best.entries()) {
    t.match(await store.images.find(id), { packageId: hike?.id, folder: `a${n}` });
    const [first, second] = [await store.containers.byService(`first${n}`), await store.containers.byService(`second${n}`)];
    t.match(
      [first, second],
      [
        { packageId: hike?.id, folder: `a${n}`, imageId: id },
        { packageId: hike?.id, folder: `a${n}/${second?.id}` },
      ],
    );
  }
  t.equal((await store.images.find(other))?.packageId, ordinary.id);
  t.equal((await store.images.byPackage(hike?.id ?? "")).length, 41);
});

t.test("a container has a new generation where its definition is another, and only there", async (t) => {
  const { publish, store } = await openApiFixture(t);
  const generation = async (json: object) => {
    await publish("walk", { "dockerfiles/app/container.json": JSON.stringify({ image: "a", ...json }) });
    return (await store.containers.all())[0]?.generation;
  };
  t.equal(await generation({ env: { A: "1", B: "2" } }), 1);
  t.equal(await generation({ env: { A: "1", B: "2" } }), 1);
  t.equal(await generation({ env: { A: "1", B: "3" } }), 2);
  const [row] = await store.containers.all();
  await store.containers.update(row?.id ?? "", { env: { B: "3", A: "1" } });
  t.equal(await generation({ env: { A: "1", B: "3" } }), 2, "the order of the variables says nothing");
  await store.containers.update(row?.id ?? "", { env: { A: "set by hand" } });
  t.equal(await generation({ env: { A: "1", B: "3" } }), 3);
});

t.test("publishing one package many times at once leaves one whole version", async (t) => {
  const { publish, store, folder } = await openApiFixture(t);
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, index) => publish("walk", { "dockerfiles/app/Dockerfile": DOCKERFILE, "dockerfiles/app/version": String(index) })),
  );
  t.same(
    answers.map(({ status }) => status),
    Array(8).fill(200),
  );
  t.equal((await store.containers.all()).length, 1);
  const [image] = await store.images.all();
  t.same(readdirSync(join(folder, image?.files ?? "")).toSorted(), ["Dockerfile", "version"]);
});

// A store that several processes share needs its key when it is opened, so that this failure cannot come later.
if (!isStoreShared())
  t.test("a publish that fails at its last write leaves no files behind", async (t) => {
    const stand = await openApiFixture(t);
    const { folder, publish } = stand;
    const files = { "dockerfiles/app/Dockerfile": DOCKERFILE, "connections/c.json": '{"name":"c","credentials":{"parameters":{"password":"p"}}}' };
    writeFileSync(join(folder, "credentials.key"), "no key\n");
    t.match(await publish("walk", files), { status: 500, json: { code: "DATA_FOLDER_UNUSABLE" } });
    await eventually("the folder is removed", () => !existsSync(join(folder, "packages")));
    await nothingLeft(t, stand);

    rmSync(join(folder, "credentials.key"));
    t.equal((await publish("walk", { "dockerfiles/app/Dockerfile": DOCKERFILE })).status, 200);
    const [image] = await stand.store.images.all();
    writeFileSync(join(folder, "credentials.key"), "no key\n");
    t.equal((await publish("walk", files)).status, 500, "published again, its files are the same");
    t.ok(existsSync(join(folder, image?.files ?? "", "Dockerfile")), "and what was there stays");
  });

t.test("files of a folder that the package no longer has are taken away", async (t) => {
  const { folder, publish, store } = await openApiFixture(t);
  await publish("walk", { "dockerfiles/app/Dockerfile": DOCKERFILE, "dockerfiles/web/Dockerfile": DOCKERFILE });
  const [app, web] = (await store.images.all()).map(({ files }) => join(folder, files, "Dockerfile"));
  await publish("walk", { "dockerfiles/web/Dockerfile": DOCKERFILE });
  t.same([existsSync(app ?? ""), existsSync(web ?? "")], [false, true]);
  await publish("walk", { "dockerfiles/app/Dockerfile": DOCKERFILE });
  t.same([existsSync(app ?? ""), existsSync(web ?? "")], [true, false]);
});

t.test("files of a publish that was killed before its rows were written go at the next start", async (t) => {
  const { folder, publish, store } = await openApiFixture(t);
  await publish("walk", { "dockerfiles/app/Dockerfile": DOCKERFILE });
  const killed = join(folder, "packages/6b1c3f0e-0000-4000-8000-000000000000/app", "0".repeat(64));
  mkdirSync(killed, { recursive: true });
  await openPackageFiles(folder, async (id) => (await store.packages.find(id)) !== undefined, store.publishedFiles);
  await eventually("the package is stored", () => readdirSync(join(folder, "packages")).length === 1);
  t.ok(existsSync(join(folder, (await store.images.all())[0]?.files ?? "", "Dockerfile")));
});

t.test("a folder that is named as versions are is refused: it would be taken for an old one", async (t) => {
  const stand = await openApiFixture(t);
  t.match(await stand.publish("walk", { [`dockerfiles/${"a".repeat(64)}/Dockerfile`]: DOCKERFILE }), {
    status: 400,
    json: { code: "PACKAGE_INVALID" },
  });
  await nothingLeft(t, stand);
});

t.test("a package of 30 long Dockerfiles is reported whole, and its answer stays below 1 MB", async (t) => {
  const stand = await openApiFixture(t);
  const long = "FROM a\nEXPOSE 80\n".padEnd(60_000, "# long\n");
  const files = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`dockerfiles/app${index}/Dockerfile`, long]));
  const { status, text, json } = await stand.publish("many", files);
  t.equal(status, 200);
  t.equal(json.containers.length, 30);
  t.ok(text.length < 1_000_000, `${text.length} characters`);
  t.equal(stand.commands.length, 60);
});

t.test("an author's images are counted over the author's packages, without what was removed", async (t) => {
  const limits = { maxMb: undefined, maxAgeDays: undefined, userImages: 3, userMb: undefined, packageImages: 2, packageMb: undefined };
  const policy = createImagePolicy({
    rules: { allow: [], ...limits },
    read: async () => undefined,
    signatures: undefined,
    metrics: openMetrics(),
    clock: systemClock(),
  });
  const { publish, addUser, get, store } = await openApiFixture(t, {}, undefined, {}, policy);
  const folders = (...names: string[]) => Object.fromEntries(names.map((name) => [`dockerfiles/${name}/Dockerfile`, DOCKERFILE]));
  t.equal((await publish("one", folders("a", "b"))).status, 200);
  t.equal((await publish("one", folders("a", "b"))).status, 200, "its own images before do not count");
  const refused = await publish("two", folders("a", "b"));
  t.equal(refused.status, 403);
  t.match(refused.json, {
    message: "With the package two, its author has 4 images; 3 are allowed (BERTH_IMAGE_USER_COUNT): remove some, or unpublish a package.",
  });
  t.equal(await store.packages.byName("two"), undefined, "nothing of it is stored");
  t.match((await publish("two", folders("a", "b", "c"))).json, { message: /^The package two has 3 images; 2 are allowed/ });
  const { key } = await addUser("ada");
  t.equal((await publish("three", folders("a", "b"), { key })).status, 200, "another author has a quota of its own");
  t.equal((await get("/packages/published/one", { method: "DELETE" })).status, 200);
  t.equal((await publish("two", folders("a", "b"))).status, 200);
});

t.test("publishes of authors whose registries do not answer do not delay others", async (t) => {
  const held: string[] = [];
  let answer = () => {};
  const answered = new Promise<void>((resolve) => void (answer = resolve));
  const none = { userImages: undefined, userMb: undefined, packageImages: undefined, packageMb: undefined };
  const policy = createImagePolicy({
    rules: { allow: [], maxMb: 1, maxAgeDays: undefined, ...none },
    read: async (ref, _digest, stop) => {
      if (!ref.startsWith("slow.example/")) return undefined;
      held.push(ref);
      await raceAbort(answered, stop);
      return undefined;
    },
    signatures: undefined,
    metrics: openMetrics(),
    clock: systemClock(),
  });
  const { publish, addUser } = await openApiFixture(t, {}, undefined, {}, policy);
  const authors = [await addUser("mallory"), await addUser("oscar")];
  const imageOf = (name: string) => ({ "dockerfiles/app/container.json": JSON.stringify({ image: `slow.example/${name}:1` }) });
  // As many as may be published at a time.
  const slow = authors.flatMap(({ user, key }) => [1, 2].map((number) => publish(`${user.login}${number}`, imageOf(user.login), { key })));
  await eventually("they are being checked", () => new Set(held).size === authors.length);
  const { key } = await addUser("ada");
  const quick = publish("quick", { "dockerfiles/app/Dockerfile": DOCKERFILE }, { key });
  const first = await Promise.race([quick, ...slow]);
  t.match(first, { status: 200, json: { name: "quick" } });
  answer();
  t.same(
    (await Promise.all(slow)).map(({ status }) => status),
    [200, 200, 200, 200],
  );
});

/** Rules for images that limit only how many one author has. */
function imageQuota(userImages: number) {
  const limits = { maxMb: undefined, maxAgeDays: undefined, userImages, userMb: undefined, packageImages: undefined, packageMb: undefined };
  return createImagePolicy({
    rules: { allow: [], ...limits },
    read: async () => undefined,
    signatures: undefined,
    metrics: openMetrics(),
    clock: systemClock(),
  });
}

t.test("packages that an author publishes at once do not pass the author's quota together", async (t) => {
  const policy = imageQuota(3);
  const { publish } = await openApiFixture(
    t,
    {},
    undefined,
    {},
    {
      ...policy,
      // Until the others are as far, if they may be.
      requirePackage: async (published, stop) => {
        await policy.requirePackage(published, stop);
        await turns();
      },
    },
  );
  const folders = { "dockerfiles/a/Dockerfile": DOCKERFILE, "dockerfiles/b/Dockerfile": DOCKERFILE };
  const all = await Promise.all(["one", "two", "three"].map((name) => publish(name, folders)));
  t.equal(all.filter(({ status }) => status === 200).length, 1);
});

t.test("what a publish left staged when the store was away is no part of the next one", async (t) => {
  const { publish, store } = await openApiFixture(t);
  const folders = (...names: string[]) => Object.fromEntries(names.map((name) => [`dockerfiles/${name}/Dockerfile`, DOCKERFILE]));
  t.equal((await publish("demo", folders("a"))).status, 200);
  const unavailable = async () => Promise.reject(new Fault("STORE_UNAVAILABLE", "The database does not answer."));
  const { clear } = store.staging;
  const { begin } = store.packageVersions;
  Object.assign(store.staging, { clear: unavailable });
  Object.assign(store.packageVersions, { begin: unavailable });
  t.equal((await publish("demo", folders("a", "b"))).status, 503);
  Object.assign(store.staging, { clear });
  Object.assign(store.packageVersions, { begin });
  const { status, json } = await publish("demo", folders("a"));
  t.equal(status, 200);
  t.same(
    json.containers.map(({ name }: { name: string }) => name),
    ["demo-a"],
  );
});

t.test("a rollback obeys the quotas of a publish", async (t) => {
  const policy = imageQuota(2);
  const { publish, get, store } = await openApiFixture(t, {}, undefined, {}, policy, { keepVersions: 2 });
  const folders = { "dockerfiles/a/Dockerfile": DOCKERFILE, "dockerfiles/b/Dockerfile": DOCKERFILE };
  t.equal((await publish("one", folders)).status, 200);
  t.equal((await get("/packages/published/one", { method: "DELETE" })).status, 200);
  t.equal((await publish("two", folders)).status, 200);
  const rollBack = () =>
    get("/packages/published/one/rollback", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ to: 1 }) });
  const refused = await rollBack();
  t.equal(refused.status, 403, refused.text);
  t.match(refused.json, { message: /With the package one, its author has 4 images; 2 are allowed \(BERTH_IMAGE_USER_COUNT\)/ });
  const owner = await store.packages.byName("one");
  t.ok(
    (await store.images.byPackage(owner?.id ?? "")).every(({ state }) => state === "DELETED"),
    "nothing of it is stored",
  );
  t.equal((await get("/packages/published/two", { method: "DELETE" })).status, 200);
  t.equal((await rollBack()).status, 200);
});
