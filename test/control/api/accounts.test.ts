import t from "tap";
import { derivedToken, tokenDigest } from "../../../control/identity/sessions.ts";
import { CLIENT_ADDRESS_HEADER, CONSOLE_HEADER } from "../../../gateway/contract.ts";
import { newContainer, newImage } from "../lifecycle/lifecycle-fixture.ts";
import { ADMIN_KEY, openApiFixture } from "./fixtures/open-api-fixture.ts";

type Page<Row> = { total: number; rows: Row[] };
type KeyRow = { id: string; login: string; label: string; sessions: number; isCurrent: boolean };
type SessionRow = { id: string; login: string; use: string; key: { id: string } | null; address: string | null; isCurrent: boolean };

const ADMIN_ROUTES = [
  ["GET", "/admin/developer-keys"],
  ["GET", "/admin/sessions"],
  ["GET", "/admin/groups"],
  ["GET", "/admin/credentials"],
  ["GET", "/admin/users"],
  ["GET", "/admin/users/bert"],
  ["PUT", "/admin/groups/lab/members/bert"],
  ["DELETE", "/admin/groups/lab/members/bert"],
  ["DELETE", "/users/bert/sessions/0123456789abcdef"],
  ["DELETE", "/users/bert/sessions"],
] as const;
const OWN_ROUTES = [
  ["GET", "/users/current/keys"],
  ["POST", "/users/current/keys"],
  ["DELETE", "/users/current/keys/unknown"],
  ["GET", "/users/current/sessions"],
  ["DELETE", "/users/current/sessions/0123456789abcdef"],
  ["DELETE", "/users/current/sessions"],
] as const;

/** A session of the console, as its own page shows it. */
async function atConsole({ identity }: Pick<Awaited<ReturnType<typeof openApiFixture>>, "identity">, key: string) {
  const token = await identity.signIn(key, "console", "192.0.2.7");
  return { cookie: `berth-console=${token}`, "sec-fetch-site": "same-origin", [CONSOLE_HEADER]: "1" };
}

t.test("routes for administrators refuse other users with 403, and callers without a credential with 401", async (t) => {
  const { call, addUser, get } = await openApiFixture(t);
  const { key } = await addUser("bert");
  for (const [method, path] of ADMIN_ROUTES) {
    t.equal((await call(path, { method })).status, 401, `${method} ${path}`);
    const refused = await call(path, { method, headers: { authorization: `Dev ${key}` } });
    t.same([refused.status, refused.json["code"]], [403, "NOT_PERMITTED"], `${method} ${path}`);
  }
  t.same((await get("/admin/audit?action=memberAdded")).json, [], "a refused request changes nothing");
});

t.test("a user manages the own account with a developer key or in the console, never with a session that pages and containers have", async (t) => {
  const server = await openApiFixture(t);
  const { call, addUser } = server;
  const { key, token } = await addUser("bert");
  for (const [method, path] of OWN_ROUTES) {
    t.equal((await call(path, { method })).status, 401, `${method} ${path}`);
    for (const authorization of [token, derivedToken(token)])
      t.equal((await call(path, { method, headers: { authorization } })).status, 403, `${method} ${path}`);
    t.equal(
      (await call(path, { method, headers: { authorization: token, [CONSOLE_HEADER]: "1" } })).status,
      403,
      "a plain session at the console too",
    );
  }
  const own = await atConsole(server, key);
  for (const headers of [{ authorization: `Dev ${key}` }, own]) {
    const keys = (await call("/users/current/keys", { headers })).json as unknown as Page<KeyRow>;
    t.match(keys, { total: 1, rows: [{ id: "bert", login: "bert", isCurrent: true }] });
  }
  const foreign = await call("/users/current/keys", {
    method: "POST",
    headers: { ...own, "sec-fetch-site": "cross-site", origin: "http://evil.test" },
  });
  t.equal(foreign.status, 403);

  const made = await call("/users/current/keys", {
    method: "POST",
    headers: { ...own, "content-type": "application/json" },
    body: JSON.stringify({ label: "laptop" }),
  });
  t.equal(made.status, 200);
  const { id, key: secret } = made.json as unknown as { id: string; key: string };
  t.equal((await call("/users/current", { headers: { authorization: `Dev ${secret}` } })).json["login"], "bert");
  t.equal((await call(`/users/current/keys/${id}`, { method: "DELETE", headers: own })).status, 200);
  t.equal((await call("/users/current", { headers: { authorization: `Dev ${secret}` } })).status, 401, "a revoked key is refused");
  const admins = (await server.get("/admin/developer-keys?login=admin")).json as unknown as Page<KeyRow>;
  t.equal((await call(`/users/current/keys/${admins.rows[0]?.id}`, { method: "DELETE", headers: own })).status, 404, "another user's key is unknown");
  const audit = (await server.get("/admin/audit?login=bert")).json as unknown as { action: string; target: string }[];
  t.same(
    audit.map(({ action, target }) => [action, target]),
    [
      ["keyRevoked", `bert (${id})`],
      ["keyMade", "bert"],
    ],
  );
  t.notOk(JSON.stringify(audit).includes(secret));
});

t.test("sessions are listed with their use, key and address, and ended one by one or together", async (t) => {
  const server = await openApiFixture(t);
  const { call, addUser, identity, store, get } = server;
  const { key, user } = await addUser("bert");
  const own = await atConsole(server, key);
  const page = await identity.openSessionFrom(decodeURIComponent(own.cookie.split("=")[1] ?? ""));
  const headers = { authorization: `Dev ${key}`, [CLIENT_ADDRESS_HEADER]: "198.51.100.4" };
  const plain = (await call("/users/login/dev", { method: "POST", headers })).json["token"] as string;
  const sessions = async (of: Record<string, string>) => (await call("/users/current/sessions", { headers: of })).json as unknown as Page<SessionRow>;

  const before = await sessions(own);
  t.equal(before.total, 4, "one of the fixture too");
  const byUse = (use: string) => before.rows.filter((row) => row.use === use);
  t.match(byUse("console"), [{ isCurrent: true, address: "192.0.2.7", key: { id: "bert" } }]);
  t.match(byUse("page"), [{ isCurrent: false, address: "192.0.2.7" }]);
  const signedIn = byUse("plain").find(({ address }) => address === "198.51.100.4");
  t.match(signedIn, { key: { id: "bert" }, isCurrent: false });
  for (const token of [plain, page]) t.notOk(JSON.stringify(before).includes(tokenDigest(token)), "no whole digest");

  t.equal((await call(`/users/current/sessions/${signedIn?.id}`, { method: "DELETE", headers: own })).status, 200);
  t.equal(await identity.who(plain), undefined);
  t.equal((await call(`/users/current/sessions/${signedIn?.id}`, { method: "DELETE", headers: own })).status, 404);

  // A container that was started with a session loses its token with it.
  const other = await identity.signIn(key);
  await store.packages.insert({ id: newImage("web", 1).packageId, name: "demo", version: "1.0.0", authorId: user.id, createdOn: 1, updatedOn: 1 });
  const image = await store.images.insert(newImage("web", 1));
  const config = { cpu: 1, memoryMb: 64, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true };
  const container = await store.containers.insert({
    ...newContainer(image, config, 1),
    requestedBy: user.id,
    requestedSession: tokenDigest(other),
    state: "STARTED",
  });
  await store.sessions.insert({
    digest: "of-the-container",
    userId: user.id,
    expiresOn: Number.MAX_SAFE_INTEGER,
    keyDigest: undefined,
    containerId: container.id,
    parent: tokenDigest(other),
  });
  t.notOk(JSON.stringify(await sessions(own)).includes("of-the-container"), "sessions of containers are not listed");
  t.match((await call("/users/current/sessions", { method: "DELETE", headers: own })).json, { ended: 2 });
  t.match(await sessions(own), { total: 2 }, "the one of the request stays, and that of the page that was opened from it");
  t.equal(await identity.who(other), undefined);
  t.match(await identity.who(page), { login: "bert" });
  t.equal(await store.sessions.byDigest("of-the-container"), undefined);
  t.match(await store.containers.find(container.id), { requestedSession: undefined, requestedKey: "" });

  t.match((await get("/admin/sessions?text=BER")).json, { total: 2, rows: [{ login: "bert" }, { login: "bert" }] });
  t.match((await get("/admin/sessions?login=unknown")).json, { total: 0, rows: { length: 0 } });
  t.match((await get("/users/bert/sessions", { method: "DELETE" })).json, { ended: 1 });
  t.equal((await call("/users/current/sessions", { headers: own })).status, 401);
  t.match((await get("/users/admin/sessions", { method: "DELETE" })).json, { ended: 0 }, "the session of the request stays");
  t.equal((await get("/users/unknown/sessions", { method: "DELETE" })).status, 404);
});

t.test("keys, groups and users are searched and paged by the server", async (t) => {
  const { get, identity } = await openApiFixture(t);
  for (const login of ["anna", "bert", "carl"]) {
    await identity.users.add(login, { friendlyName: `${login} of the lab`, groups: login === "carl" ? ["lab", "carls"] : ["lab"] });
    await identity.users.addKey(login, login === "bert" ? "Build server" : "laptop");
  }
  await identity.signIn(ADMIN_KEY, "console");
  const list = async <Row>(path: string) => (await get(path)).json as unknown as Page<Row>;
  t.match(await list<KeyRow>("/admin/developer-keys"), {
    total: 4,
    rows: [{ login: "admin", fromSetting: true, sessions: 1, lastUsedOn: /^2/ }, { login: "anna" }],
  });
  t.match(await list<KeyRow>("/admin/developer-keys?text=build"), { total: 1, rows: [{ login: "bert", label: "Build server" }] });
  t.match(await list<KeyRow>("/admin/developer-keys?limit=1&page=3"), { total: 4, rows: [{ login: "bert" }] });
  t.equal((await get("/admin/developer-keys?limit=201")).status, 400);

  t.match(await list("/admin/groups"), {
    total: 2,
    rows: [
      { name: "carls", members: 1 },
      { name: "lab", members: 3 },
    ],
  });
  t.match(await list("/admin/groups?text=LA"), { total: 1, rows: [{ name: "lab" }] });
  const logins = async (query: string) => ((await get(`/users?${query}`)).json as unknown as { login: string }[]).map(({ login }) => login);
  t.same(await logins("group=lab&limit=2&page=2"), ["carl"]);
  t.same(await logins("text=OF%20THE"), ["anna", "bert", "carl"]);
  t.same([(await get("/users/count?group=lab&text=bert")).json, (await get("/users/count")).json], [1, 4]);

  t.match(await list("/admin/users?group=lab&text=L&limit=1&page=2"), { total: 3, rows: [{ login: "bert", groups: ["lab"], keys: 1 }] });

  t.equal((await get("/admin/groups/chess/members/anna", { method: "PUT" })).status, 200);
  t.equal((await get("/admin/groups/lab/members/anna", { method: "DELETE" })).status, 200);
  t.match((await get("/admin/users/anna")).json, { login: "anna", groups: ["chess"], keys: 1 });
  t.equal((await get("/admin/groups/lab/members/anna", { method: "DELETE" })).json["code"], "GROUP_NOT_FOUND");
  t.equal((await get("/admin/groups/no%20group/members/anna", { method: "PUT" })).status, 400);
  t.match(
    ((await get("/admin/audit?target=anna")).json as unknown as { action: string; target: string }[]).map(({ action, target }) => [action, target]),
    [
      ["memberRemoved", "anna (lab)"],
      ["memberAdded", "anna (chess)"],
    ],
  );
  t.same((await get("/users/current")).json["groups"], []);
});

t.test("packages are listed with the names of their credentials and the containers that receive them, never with a value", async (t) => {
  const { get, publish, addUser } = await openApiFixture(t);
  const { key } = await addUser("bert");
  const connection = JSON.stringify({ "#type": "DataConnection", name: "Chembl", credentials: { parameters: { password: "brought-secret" } } });
  const files = {
    "connections/chembl.json": connection,
    "dockerfiles/reader/Dockerfile": "FROM scratch\nEXPOSE 80",
    "dockerfiles/reader/container.json": JSON.stringify({ env: { SOURCE: "#{x.Chembl}" } }),
    "dockerfiles/plain/Dockerfile": "FROM scratch\nEXPOSE 80",
  };
  t.equal((await publish("chem", files)).status, 200);
  t.equal((await publish("other", { "dockerfiles/web/Dockerfile": "FROM scratch\nEXPOSE 80" }, { key })).status, 200);
  await get("/credentials/for/chem", { method: "PATCH", body: JSON.stringify({ LICENCE: "set-secret" }) });
  const listed = await get("/admin/credentials");
  t.match(listed.json, {
    total: 2,
    rows: [
      {
        package: "chem",
        author: "admin",
        targets: [
          {
            name: "chem",
            connection: null,
            credentials: [{ name: "LICENCE", origin: "set" }],
            containers: [{ name: "chem-plain" }, { name: "chem-reader" }],
          },
          {
            name: "chem.Chembl",
            connection: "Chembl",
            credentials: [{ name: "password", origin: "package" }],
            containers: [{ name: "chem-reader" }],
          },
        ],
      },
      { package: "other", author: "bert", targets: [{ name: "other", credentials: { length: 0 }, containers: { length: 0 } }] },
    ],
  });
  t.notOk(/brought-secret|set-secret/.test(JSON.stringify(listed.json)));
  t.match((await get("/admin/credentials?set=true")).json, { total: 1, rows: [{ package: "chem" }] });
  t.match((await get("/admin/credentials?text=OTH")).json, { total: 1, rows: [{ package: "other" }] });
  t.match((await get("/admin/credentials?limit=1&page=2")).json, { total: 2, rows: [{ package: "other" }] });
  t.match((await get(`/public/v1/packages?text=${encodeURIComponent('author = "bert"')}`)).json, [{ name: "other" }]);
});
