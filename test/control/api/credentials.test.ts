import { readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ADMIN_KEY, openApiFixture, type ApiFixture } from "./fixtures/open-api-fixture.ts";

const CONNECTION = { "#type": "DataConnection", name: "Chembl", parameters: { server: "db" }, dataSource: "Postgres" };
const BROUGHT = { login: "demo", password: "brought" };
const files = (credentials?: object) => ({
  "connections/chembl.json": JSON.stringify({ ...CONNECTION, ...(credentials ? { credentials: { parameters: credentials } } : {}) }),
});
const post = (values: unknown) => ({ method: "POST", body: JSON.stringify(values) });

/** What a container of the package would be given for the connection. */
async function given({ store, credentials }: ApiFixture, packageName: string): Promise<unknown> {
  const packageId = (await store.packages.byName(packageName))?.id ?? "";
  return JSON.parse((await credentials.renderEnv({ packageId, env: { CONN: "#{x.Chembl}" } }))["CONN"] ?? "");
}

t.test("a package is found by its whole name alone, in any case, and its connections however they are spelled", async (t) => {
  const stand = await openApiFixture(t);
  await stand.publish("@datagrok/sequence-translator", files());
  for (const [spelling, name] of [
    ["@Datagrok/Sequence-Translator", "@datagrok/sequence-translator"],
    ["@datagrok/sequence-translator.chembl", "@datagrok/sequence-translator.Chembl"],
    ["@datagrok/sequence-translator", "@datagrok/sequence-translator"],
    ["@datagrok/sequence-translator.CHEMBL", "@datagrok/sequence-translator.Chembl"],
    ["%40datagrok%2Fsequence-translator.Chembl", "@datagrok/sequence-translator.Chembl"],
  ] as const) {
    const { status, json } = await stand.get(`/credentials/for/${name}`, post({ login: "a" }));
    t.same([status, json], [200, { "#type": "Credentials", name, parameters: { login: "***" }, warnings: [] }], spelling);
    t.same((await stand.get(`/credentials/for/${name}`)).json, json);
  }
  await stand.publish("other", files());
  await stand.publish("@a/twin", files());
  await stand.publish("@b/twin", files());
  for (const [name, status, code] of [
    ["unknown", 404, "PACKAGE_NOT_FOUND"],
    ["other.nothing", 404, "ENTITY_NOT_FOUND"],
    ["twin.chembl", 404, "PACKAGE_NOT_FOUND"],
    ["sequence-translator", 404, "PACKAGE_NOT_FOUND"],
    ["@datagrok/SequenceTranslator", 404, "PACKAGE_NOT_FOUND"],
  ] as const) {
    const answer = await stand.get(`/credentials/for/${name}`, post({ login: "a" }));
    t.match(answer, { status, json: { "#type": "ApiError", code } }, name);
  }
});

t.test("credentials for a package that is not yet published never reach another user's package of nearly the same name", async (t) => {
  const stand = await openApiFixture(t);
  const mallory = await stand.addUser("mallory");
  await stand.publish("@evil/futurepkg", files(), { key: mallory.key });
  for (const name of ["futurepkg", "futurepkg.Chembl", "FuturePkg", "@datagrok/futurepkg", "@datagrok/futurepkg.Chembl"])
    t.match(await stand.get(`/credentials/for/${name}`, post({ password: "hunter2" })), { status: 404, json: { code: "PACKAGE_NOT_FOUND" } }, name);
  const { json } = await stand.call("/credentials/for/@evil/futurepkg", { headers: { authorization: mallory.token } });
  t.same(json["parameters"], {});
});

t.test("where a text may mean the packages of two authors, an administrator has to name one, and each author has their own", async (t) => {
  const stand = await openApiFixture(t);
  const [alice, mallory] = [await stand.addUser("alice"), await stand.addUser("mallory")];
  await stand.publish("chem", files(), { key: alice.key });
  await stand.publish("chem.Chembl", files(), { key: mallory.key });
  const path = "/credentials/for/chem.Chembl";
  t.match(await stand.get(path, post({ password: "x" })), { status: 400, json: { code: "REQUEST_INVALID" } });
  const as = async ({ token }: { token: string }) =>
    (await stand.call(path, { ...post({ a: "b" }), headers: { authorization: token } })).json["name"];
  t.same([await as(alice), await as(mallory)], ["chem.Chembl", "chem.Chembl"]);
  t.same((await stand.store.credentials.of((await stand.store.packages.byName("chem"))?.id ?? "", "chembl")).length, 1);
  t.same((await stand.store.credentials.of((await stand.store.packages.byName("chem.Chembl"))?.id ?? "", "")).length, 1);
});

t.test("only the author and administrators set, see and remove them; a session or a developer key will do", async (t) => {
  const { publish, addUser, call, token } = await openApiFixture(t);
  const [author, other] = [await addUser("author"), await addUser("other")];
  await publish("mine", files(), { key: author.key });
  const requests = [post({ login: "a" }), { method: "PATCH", body: "{}" }, { method: "GET" }, { method: "DELETE" }];
  for (const headers of [{ authorization: author.token }, { authorization: `Dev ${author.key}` }, { authorization: `Bearer ${token}` }])
    for (const one of requests) t.equal((await call("/credentials/for/mine.chembl", { ...one, headers })).status, 200, one.method);
  for (const [headers, status] of [
    [{ authorization: other.token }, 403],
    [{ authorization: `Dev ${other.key}` }, 403],
    [{ authorization: "Dev nonsense" }, 401],
    [{}, 401],
  ] as const)
    for (const one of requests) t.equal((await call("/credentials/for/mine.chembl", { ...one, headers })).status, status, one.method);
  const guessed = await call("/credentials/for/mine.nothing", { headers: { authorization: other.token } });
  t.equal(guessed.status, 403, "nor do others learn which connections there are");
  t.equal((await call("/credentials/rotate", { method: "POST", headers: { authorization: author.token } })).status, 403);
  t.equal((await call("/credentials/rotate", { method: "POST", headers: { authorization: `Dev ${ADMIN_KEY}` } })).status, 200);
});

t.test("POST replaces, PATCH adds, DELETE removes some or all", async (t) => {
  const stand = await openApiFixture(t);
  await stand.publish("demo", files());
  const path = "/credentials/for/demo.chembl";
  const names = async () => Object.keys((await stand.get(path)).json["parameters"]);
  await stand.get(path, post({ login: "a", password: "b" }));
  await stand.get(path, { method: "PATCH", body: '{"token":{"kind":"json"}}' });
  t.same(await names(), ["login", "password", "token"]);
  t.same(await given(stand, "demo"), { ...CONNECTION, credentials: { parameters: { login: "a", password: "b", token: { kind: "json" } } } });
  await stand.get(`${path}?name=login&name=token`, { method: "DELETE" });
  t.same(await names(), ["password"]);
  await stand.get(path, post({ login: "c" }));
  t.same(await names(), ["login"]);
  await stand.get(path, { method: "DELETE" });
  t.same(await given(stand, "demo"), CONNECTION);
});

t.test("a body that cannot be is refused without a word of it, whatever its Content-Type", async (t) => {
  const { publish, get } = await openApiFixture(t);
  await publish("demo", files());
  const bodies = ["hunter2", '{"password":"hunter2"', '["hunter2"]', '"hunter2"', '{"a=b":"hunter2"}', '{"":"hunter2"}', '{"login":null}', ""];
  bodies.push(`{"password":"hunter2\\u0000"}`, `{"password":"hunter2${"x".repeat(70_000)}"}`, `{"password":"hunter2${"x".repeat(300_000)}"}`);
  for (const body of bodies) {
    for (const headers of [{}, { "content-type": "application/json" }, { "content-type": "text/plain;charset=UTF-8" }] as Record<string, string>[]) {
      const answer = await get("/credentials/for/demo.chembl", { method: "POST", body, headers });
      t.match(answer, { status: 400, json: { "#type": "ApiError", code: "REQUEST_INVALID" } }, body.slice(0, 30));
      t.notMatch(answer.text, /hunter2/);
    }
  }
  t.same((await get("/credentials/for/demo.chembl")).json["parameters"], {});
});

t.test("the package's own values are read anew with each publish, until a user sets some", async (t) => {
  const stand = await openApiFixture(t);
  await stand.publish("demo", files(BROUGHT));
  t.same(await given(stand, "demo"), { ...CONNECTION, credentials: { parameters: BROUGHT } });
  await stand.publish("demo", files({ token: "t" }));
  t.same(await given(stand, "demo"), { ...CONNECTION, credentials: { parameters: { token: "t" } } });
  await stand.get("/credentials/for/demo.chembl", post({ login: "set" }));
  const { json } = await stand.publish("demo", files(BROUGHT));
  t.match(json["warnings"], [/Chembl brings credentials.*kept/]);
  t.same(await given(stand, "demo"), { ...CONNECTION, credentials: { parameters: { login: "set" } } });
  await stand.publish("demo", {});
  await t.rejects(() => given(stand, "demo"), { code: "CREDENTIAL_NOT_FOUND" }, "the connection left the package");
  await stand.publish("demo", files());
  t.same(await given(stand, "demo"), { ...CONNECTION, credentials: { parameters: { login: "set" } } }, "and came back");
  t.same(readdirSync(join(stand.folder, "incoming")), [], "nothing of the archive is left lying");
});

t.test("a connection that cannot be read stops no publish, and is a warning that repeats nothing of it", async (t) => {
  const stand = await openApiFixture(t);
  const { status, json } = await stand.publish("demo", {
    ...files(),
    "connections/broken.json": '{"password": "hunter2',
    "connections/list.json": '["hunter2"]',
    "connections/twin.json": JSON.stringify({ name: "CHEMBL", credentials: { parameters: { password: "hunter2" } } }),
    "connections/nameless.json": '{"parameters":{}}',
    "connections/sub/deeper.json": "not ours",
    "connections/readme.md": "not ours",
  });
  t.equal(status, 200);
  t.match(json["warnings"], [/broken\.json is not a JSON object/, /list\.json is not a JSON object/, /twin\.json.*Chembl/]);
  t.equal(json["warnings"].length, 3);
  t.notMatch(JSON.stringify(json), /hunter2/);
  t.same(
    (await stand.store.connections.byPackage(json["id"])).map(({ name }) => name),
    ["Chembl", "nameless"],
  );
});

t.test("a package's own credentials that are no variables are kept, and reported as not passed on", async (t) => {
  const stand = await openApiFixture(t);
  const { json: published } = await stand.publish("demo", {});
  const { json } = await stand.get("/credentials/for/demo", post({ "api-key": "a", API_KEY: "b", N: 1 }));
  t.match(json["warnings"], [/api-key/]);
  t.same(await stand.credentials.packageEnv(published["id"]), { API_KEY: "b", N: "1" });
});
