import t from "tap";
import { openApiFixture } from "./fixtures/open-api-fixture.ts";

// The requests are those of `grok server` of datagrok-tools 6.7.5.
type Named = { name: string };
const names = (json: unknown) => (json as Named[]).map(({ name }) => name);

t.test("grok server lists packages in pages, and counts them", async (t) => {
  const { get, publish } = await openApiFixture(t);
  for (const name of ["@scope/chem", "bio", "docking"]) t.equal((await publish(name, {})).status, 200, name);
  const list = async (query: string) => names((await get(`/public/v1/packages?${query}`)).json);

  t.same(await list("limit=50&page=1"), ["@scope/chem", "bio", "docking"]);
  t.same(await list("limit=2&page=2"), ["docking"]);
  t.same(await list("text=CHE&limit=50&page=1"), ["@scope/chem"]);
  t.same(await list(`text=${encodeURIComponent('name = "bio"')}&limit=50&page=1`), ["bio"]);
  const all = (await get("/packages")).json as unknown as object[];
  t.equal(all.length, 3);
  t.match(all[0], {
    "#type": "Package",
    friendlyName: "chem",
    version: "1.0.0",
    author: "admin",
    publishedVersions: [{ version: "1.0.0", isCurrent: true }],
  });
  t.same(await list("order=!name&limit=1&page=1"), ["docking"]);
});

t.test("grok server lists groups: a user's own, and with administration all", async (t) => {
  const { get, call, addUser } = await openApiFixture(t);
  const anna = await addUser("anna");
  await addUser("bert");
  const change = async (login: string, groups: string[]) =>
    get(`/users/${login}`, { method: "PATCH", headers: { "content-type": "application/json" }, body: JSON.stringify({ groups }) });
  await change("anna", ["chemists", "admins"]);
  await change("bert", ["biologists"]);
  const asAnna = async (path: string) => (await call(path, { headers: { authorization: anna.token } })).json;

  t.same(names((await get("/groups?limit=50&page=1")).json), ["admins", "biologists", "chemists"]);
  t.same(names((await get("/groups?limit=1&page=2")).json), ["biologists"]);
  t.equal((await get("/groups/count")).json as unknown, 3);
  t.same(names(await asAnna("/groups?limit=50&page=1")), ["admins", "chemists"]);
  t.equal((await asAnna("/groups/count?text=chem")) as unknown, 1);
  t.equal((await call("/groups")).status, 401);
});

t.test("grok server lists users in pages, for administrators", async (t) => {
  const { get, call, addUser } = await openApiFixture(t);
  const anna = await addUser("anna");
  await addUser("bert");
  const logins = async (query: string) => ((await get(`/users?${query}`)).json as unknown as { login: string }[]).map(({ login }) => login);
  t.same(await logins("limit=50&page=1"), ["admin", "anna", "bert"]);
  t.same(await logins("limit=2&page=2"), ["bert"]);
  t.same(await logins("text=NN"), ["anna"]);
  t.equal((await get("/users/count")).json as unknown, 3);
  t.equal((await call("/users/count", { headers: { authorization: anna.token } })).status, 403);
});

t.test("what a Datagrok server has and berth has not is 501 with one sentence, whatever the method", async (t) => {
  const { get } = await openApiFixture(t);
  for (const path of [
    "/log/funcs?limit=10000&page=1",
    "/connectors/connections?limit=50",
    "/scripts",
    "/reports/count",
    "/tables",
    "/public/v1/healthcheck",
  ]) {
    const { status, json } = await get(path);
    t.equal(status, 501, path);
    t.match(json, { "#type": "ApiError", code: "NOT_PROVIDED", message: /^[^.]*berth[^.]*\.$/s }, path);
  }
  const empty = { method: "POST", headers: { "content-type": "application/json" } };
  t.match(await get("/users/sessions/current/admin", empty), { status: 501 });
  t.equal((await get("/nothing")).status, 404);
});
