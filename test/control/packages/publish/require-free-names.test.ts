import Sqlite from "better-sqlite3";
import { join } from "node:path";
import t from "tap";
import { ADMIN_KEY, openApiFixture, type ApiFixture } from "../../api/fixtures/open-api-fixture.ts";

const APP = { "dockerfiles/app/Dockerfile": "FROM a\nEXPOSE 80\n" };
const imageJson = (image: string) => ({ "dockerfiles/app/image.json": JSON.stringify({ image, fallback: false }) });
const TAKEN = { status: 409, json: { "#type": "ApiError", code: "NAME_TAKEN" } };

/** The image becomes ready, as validating it would make it. */
const makeReady = (stand: ApiFixture, id: string) => stand.store.images.move(id, "PENDING_VALIDATION", "READY", {});
const compatible = (stand: ApiFixture, image: string, token: string) =>
  stand.call(`/docker/images/${image}/latest-compatible?version=1.0.0`, { headers: { authorization: token } });
/** What a docker token allows there. */
const actions = async (stand: ApiFixture, key: string, repository: string) => {
  const headers = { authorization: `Basic ${Buffer.from(`any:${key}`).toString("base64")}` };
  const { json } = await stand.call(`/docker/token?service=r&scope=repository:${repository}:pull,push`, { headers });
  const [, payload = ""] = String(json["token"]).split(".");
  const { access } = JSON.parse(Buffer.from(payload, "base64url").toString()) as { access: { actions: string[] }[] };
  return access[0]?.actions.join(",");
};

t.test("an image name of another author's package is refused, also where it differs only in case and separators", async (t) => {
  const stand = await openApiFixture(t);
  const [alice, mallory] = [await stand.addUser("alice"), await stand.addUser("mallory")];
  t.equal((await stand.publish("PowerGrid", APP, { key: alice.key })).status, 200);
  for (const name of ["powergrid", "power-grid", "@mallory/powergrid", "@mallory/power_grid", "POWERGRID"])
    t.match(await stand.publish(name, APP, { key: mallory.key }), TAKEN, name);
  t.match(
    await stand.publish("powergrid-app", { "dockerfiles/Dockerfile": "FROM a\nEXPOSE 80\n" }, { key: mallory.key }),
    TAKEN,
    "by another folder",
  );
  t.match(await stand.publish("power", { "dockerfiles/Grid-App/container.json": '{"image":"evil:1"}' }, { key: mallory.key }), TAKEN, "by an image");
  t.same(
    (await stand.store.packages.all()).map(({ name }) => name),
    ["PowerGrid"],
    "nothing of a refused package is kept",
  );
  const refused = await stand.publish("@mallory/powergrid", APP, { key: mallory.key });
  t.match(refused.json["message"], /datagrok\/powergrid-app.*PowerGrid/, "with the reason");
  t.match(await stand.publish("@other/PowerGrid", APP), TAKEN, "an administrator's package of that name is another author's too");
  t.equal((await stand.publish("PowerGrid", APP)).status, 200, "an administrator may publish the author's own");
  t.equal((await stand.publish("@mallory/powergrid", { "dockerfiles/x/Dockerfile": "FROM a\n" }, { key: mallory.key })).status, 200, "other images");
  t.match(await stand.publish("PowerGrid", { ...APP, "dockerfiles/X/Dockerfile": "FROM a\n" }, { key: alice.key }), TAKEN, "the first one owns it");
});

t.test("two packages never have a container of one name, also those of one author", async (t) => {
  const stand = await openApiFixture(t);
  const [ada, max, eve] = [await stand.addUser("ada"), await stand.addUser("max"), await stand.addUser("eve")];
  for (const { user } of [ada, max]) await stand.store.groups.put(user.id, ["lab"]);
  const first = await stand.publish("walk", APP, { key: ada.key });
  t.equal(first.status, 200);
  for (const { key } of [ada, max, eve, { key: ADMIN_KEY }]) t.match(await stand.publish("@scope/walk", APP, { key }), TAKEN);
  t.equal((await stand.publish("walk", APP, { key: max.key })).status, 200, "a group's member publishes over the package itself");
  await stand.get(`/docker/containers/${first.json["containers"][0].id}`, { method: "DELETE" });
  t.match(await stand.publish("@eve/walk", APP, { key: eve.key }), TAKEN, "the image stays the author's");
  t.equal((await stand.publish("@scope/walk", APP, { key: max.key })).status, 200, "one that was deleted is free for who may manage it");
  t.match(await stand.publish("walk", APP, { key: ada.key }), TAKEN);
});

t.test("a store in which two authors have one name opens, and the first of them publishes again", async (t) => {
  const stand = await openApiFixture(t);
  const [alice, mallory] = [await stand.addUser("alice"), await stand.addUser("mallory")];
  const made = await stand.publish("PowerGrid", APP, { key: alice.key });
  await stand.publish("other", APP, { key: mallory.key });
  // As an earlier version let it happen.
  const database = new Sqlite(join(stand.folder, "berth.db"));
  database.exec(`UPDATE packages SET name = 'powergrid' WHERE name = 'other'`);
  database.exec(`UPDATE images SET name = 'powergrid-app', created_on = created_on + 1000 WHERE name = 'other-app'`);
  database.exec(`UPDATE containers SET name = 'power-grid-app', created_on = created_on + 1000 WHERE name = 'other-app'`);
  database.close();
  const again = await stand.publish("PowerGrid", APP, { key: alice.key });
  t.equal(again.status, 200);
  t.same(again.json["containers"][0].id, made.json["containers"][0].id);
  t.match(await stand.publish("powergrid", APP, { key: mallory.key }), TAKEN);
  t.equal(await actions(stand, alice.key, "datagrok/powergrid-app"), "pull,push");
  t.equal(await actions(stand, mallory.key, "datagrok/powergrid-app"), "pull");
});

t.test("image.json names an image of the folder's own repository, and no other", async (t) => {
  const stand = await openApiFixture(t);
  const { key } = await stand.addUser("mallory");
  for (const image of ["docker.io/evil/backdoor:1", "datagrok/other-app:1", "registry.example/datagrok/walk-app:1", "datagrok/walk-app", "evil:1"]) {
    const answer = await stand.publish("walk", { ...APP, ...imageJson(image) }, { key });
    if (image === "datagrok/walk-app") t.equal(answer.status, 200, image);
    else t.match(answer, { status: 400, json: { code: "PACKAGE_INVALID", message: /datagrok\/walk-app/ } }, image);
  }
  t.equal((await stand.publish("walk", { ...APP, ...imageJson("datagrok/walk-app:1.0.0.abcdef01") }, { key })).status, 200);
});

t.test("latest-compatible offers an image to who may manage its package alone, and only one of its own repository", async (t) => {
  const stand = await openApiFixture(t);
  const [alice, mallory, max] = [await stand.addUser("alice"), await stand.addUser("mallory"), await stand.addUser("max")];
  for (const { user } of [alice, max]) await stand.store.groups.put(user.id, ["lab"]);
  const [image] = (await stand.publish("chem", APP, { key: alice.key })).json["images"];
  await makeReady(stand, image.id);
  const reply = { status: 200, json: { image: image.imageRef } };
  for (const { token } of [alice, max, { token: stand.token }]) t.match(await compatible(stand, "chem-app", token), reply);
  t.match(await compatible(stand, "chem-app", mallory.token), { status: 404, json: { code: "IMAGE_ENTITY_NOT_FOUND" } });
  // As an earlier version let it be published.
  const database = new Sqlite(join(stand.folder, "berth.db"));
  database.exec(`UPDATE images SET ref = 'docker.io/evil/backdoor:1' WHERE id = '${image.id}'`);
  database.close();
  t.equal((await compatible(stand, "chem-app", alice.token)).status, 404);
});

t.test("latest-compatible never offers an administrator the image of a package that took another author's name", async (t) => {
  const stand = await openApiFixture(t);
  const [alice, mallory] = [await stand.addUser("alice"), await stand.addUser("mallory")];
  const [own] = (await stand.publish("chem", APP, { key: alice.key })).json["images"];
  const [foreign] = (await stand.publish("other", APP, { key: mallory.key })).json["images"];
  const database = new Sqlite(join(stand.folder, "berth.db"));
  database.exec(`UPDATE images SET name = 'chem-app', ref = 'datagrok/chem-app:evil', updated_on = updated_on + 1000 WHERE id = '${foreign.id}'`);
  database.close();
  for (const { id } of [own, foreign]) await makeReady(stand, id);
  t.match(await compatible(stand, "chem-app", stand.token), { status: 200, json: { image: own.imageRef } });
});

t.test("an author keeps push on the package's repositories when others publish packages of that name", async (t) => {
  const stand = await openApiFixture(t);
  const [alice, mallory] = [await stand.addUser("alice"), await stand.addUser("mallory")];
  await stand.publish("mychem", APP, { key: alice.key });
  t.equal((await stand.publish("@mallory/mychem", { "dockerfiles/x/Dockerfile": "FROM a\n" }, { key: mallory.key })).status, 200);
  for (const repository of ["datagrok/mychem", "datagrok/mychem-app", "datagrok/my-chem", "datagrok/my_chem_app"]) {
    t.equal(await actions(stand, alice.key, repository), "pull,push", repository);
    t.equal(await actions(stand, mallory.key, repository), "pull", repository);
  }
  t.equal(await actions(stand, mallory.key, "datagrok/mychem-x"), "pull,push");
});

t.test("an image that another author's container runs by its image key cannot be pushed over", async (t) => {
  const stand = await openApiFixture(t);
  const [bob, mallory, max] = [await stand.addUser("bob"), await stand.addUser("mallory"), await stand.addUser("max")];
  for (const { user } of [bob, max]) await stand.store.groups.put(user.id, ["lab"]);
  const runs = (image: string) => ({ "dockerfiles/worker/container.json": JSON.stringify({ image }) });
  await stand.publish("jobs", runs("registry.example:5000/datagrok/shared-worker:1"), { key: bob.key });
  await stand.publish("more", runs("datagrok/shared-worker:1"), { key: mallory.key });
  t.equal(await actions(stand, mallory.key, "datagrok/shared-worker"), "pull", "who names it later owns nothing of it");
  for (const { key } of [bob, max]) t.equal(await actions(stand, key, "datagrok/shared-worker"), "pull,push");
  t.equal(await actions(stand, ADMIN_KEY, "datagrok/shared-worker"), "pull,push");
  t.match(await stand.publish("shared-worker", { "dockerfiles/Dockerfile": "FROM a\n" }, { key: mallory.key }), TAKEN, "nor by its own image");
});

t.test("an administrator assigns a repository; what another user pushed to first is that user's until then", async (t) => {
  const stand = await openApiFixture(t);
  const [anna, mallory] = [await stand.addUser("anna"), await stand.addUser("mallory")];
  await stand.store.repositories.claim({ key: "chemapp", name: "datagrok/chem-app", packageId: undefined, userId: mallory.user.id, since: 1 });
  t.match(await stand.publish("chem", APP, { key: anna.key }), { ...TAKEN, json: { message: /mallory, who pushed to it first/ } });
  const owner = "/docker/registry/owner";
  const lookUp = `${owner}?repository=datagrok/chem-app`;
  t.same((await stand.get(lookUp)).json, { repository: "datagrok/chem-app", login: "mallory", package: null });
  const assign = (body: object, token = stand.token) =>
    stand.call(owner, { method: "PUT", headers: { authorization: token, "content-type": "application/json" }, body: JSON.stringify(body) });
  t.equal((await assign({ repository: "datagrok/chem-app", login: "mallory" }, mallory.token)).status, 403);
  t.equal((await stand.call(lookUp, { headers: { authorization: anna.token } })).status, 403);
  t.match(await assign({ repository: "library/chem", login: "anna" }), { status: 400, json: { code: "REQUEST_INVALID" } });
  t.match(await assign({ repository: "datagrok/chem-app", login: "unknown" }), { status: 404, json: { code: "USER_NOT_FOUND" } });
  t.match((await assign({ repository: "datagrok/chem-app", login: "anna" })).json, { login: "anna" });
  t.equal((await stand.publish("chem", APP, { key: anna.key })).status, 200);
  t.equal(await actions(stand, mallory.key, "datagrok/chem-app"), "pull");
  t.equal((await assign({ repository: "datagrok/chem-app", login: "mallory" })).status, 200);
  t.match(await stand.publish("chem", APP, { key: anna.key }), TAKEN, "who has lost it publishes no longer under it");
});

t.test("what a removed user had pushed to goes to who removes the user", async (t) => {
  const stand = await openApiFixture(t);
  const { user } = await stand.addUser("mallory");
  await stand.store.repositories.claim({ key: "chemapp", name: "datagrok/chem-app", packageId: undefined, userId: user.id, since: 1 });
  t.equal((await stand.get("/users/mallory", { method: "DELETE" })).status, 200);
  t.match((await stand.get("/docker/registry/owner?repository=datagrok/chem-app")).json, { login: "admin" });
});

t.test("a look-up by a bare word finds the exact name first, in whatever order and on the first page", async (t) => {
  const stand = await openApiFixture(t);
  const [alice, mallory] = [await stand.addUser("alice"), await stand.addUser("mallory")];
  await stand.publish("chem-chem", { "dockerfiles/x/Dockerfile": "FROM a\n" }, { key: alice.key });
  for (const name of ["aaa-chem-chem", "zzz-chem-chem"])
    await stand.publish(name, { "dockerfiles/x/Dockerfile": "FROM a\n", "dockerfiles/xx/Dockerfile": "FROM a\n" }, { key: mallory.key });
  for (const kind of ["containers", "images"])
    for (const order of ["", "&order=name", "&order=!name", "&order=createdOn", "&order=!createdOn"])
      for (const text of ["chem-chem-x", "CHEM-chem-x"]) {
        const search = async (page: string) => (await stand.get(`/docker/${kind}?text=${text}${order}${page}`)).json.map(({ name }) => String(name));
        const all = await search("");
        t.equal(all[0], "chem-chem-x", `${kind} ${text} ${order}`);
        t.equal(all.length, 5);
        const pages = [await search("&limit=2&page=1"), await search("&limit=2&page=2"), await search("&limit=2&page=3")];
        t.same(pages.flat(), all, "the pages are the list");
        const rest = all.slice(1);
        if (order === "&order=!name") t.same(rest, rest.toSorted().toReversed());
        if (order === "&order=name" || order === "") t.same(rest, rest.toSorted());
      }
});

t.test("a container's name and its friendly name are neither another author's nor an id", async (t) => {
  const stand = await openApiFixture(t);
  const [alice, mallory, max] = [await stand.addUser("alice"), await stand.addUser("mallory"), await stand.addUser("max")];
  for (const { user } of [alice, max]) await stand.store.groups.put(user.id, ["lab"]);
  const [own] = (await stand.publish("@alice/PowerGrid", APP, { key: alice.key })).json["containers"];
  const [theirs] = (await stand.publish("other", APP, { key: mallory.key })).json["containers"];
  const [mates] = (await stand.publish("mates", APP, { key: max.key })).json["containers"];
  const save = (token: string, body: object) =>
    stand.call("/docker/containers", {
      method: "POST",
      headers: { authorization: token, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  for (const name of ["power-grid-app", "Power-Grid-App", "powergrid_app", "PowerGrid", "power-grid", "alice-powergrid", "PowerGrid App"]) {
    t.match(await save(mallory.token, { id: theirs.id, friendlyName: name }), TAKEN, name);
    if (!name.includes(" "))
      t.match(await save(mallory.token, { name, dockerfile: theirs.dockerfile }), { json: { "#type": "ApiError" }, status: /^4/ }, name);
  }
  t.match(await save(mallory.token, { id: theirs.id, friendlyName: own.id }), { status: 400, json: { code: "REQUEST_INVALID" } });
  t.match(await save(mallory.token, { name: own.id, dockerfile: theirs.dockerfile }), { status: 400, json: { code: "REQUEST_INVALID" } });
  t.equal((await save(mallory.token, { id: theirs.id, friendlyName: "Power grids of mine" })).status, 200);
  t.equal((await save(alice.token, { id: own.id, friendlyName: "PowerGrid" })).status, 200, "the author's own");
  t.equal((await save(max.token, { id: mates.id, friendlyName: "power-grid" })).status, 200, "who shares a group with the author");
  t.match(await save(stand.token, { id: theirs.id, friendlyName: "PowerGrid" }), TAKEN, "an administrator cannot give a taken name away either");
});

t.test("warnings of images and names of services are for users who may manage the package", async (t) => {
  const stand = await openApiFixture(t);
  const [alice, mallory] = [await stand.addUser("alice"), await stand.addUser("mallory")];
  const made = await stand.publish("chem", { "dockerfiles/app/Dockerfile": "FROM a\n" }, { key: alice.key });
  const [image] = made.json["images"];
  const [container] = made.json["containers"];
  t.match(image.logs, /warning: /);
  const as = async (path: string, token: string) => (await stand.call(path, { headers: { authorization: token } })).json;
  for (const [token, logs, services] of [
    [alice.token, image.logs, [container.serviceName]],
    [stand.token, image.logs, [container.serviceName]],
    [mallory.token, "", []],
  ] as const) {
    t.equal((await as(`/docker/images/${image.id}`, token))["logs"], logs);
    t.equal((await as("/docker/images", token))[0].logs, logs);
    t.equal((await as(`/docker/containers/${container.id}`, token))["dockerfile"].logs, logs);
    t.same(await as("/docker/services", token), services);
  }
});
