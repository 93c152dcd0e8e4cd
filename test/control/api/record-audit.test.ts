import { fastify } from "fastify";
import t from "tap";
import { Fault } from "../../../lib/fault.ts";
import { recordAudit } from "../../../control/api/record-audit.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { ADMIN_KEY, openApiFixture, type ApiFixture } from "./fixtures/open-api-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

type Entry = { seq: number; action: string; target: string | null; login: string | null; via: string | null; status: number | null };

const JSON_TYPE = { "content-type": "application/json" };
const FILES = { "dockerfiles/app/Dockerfile": "FROM scratch\nEXPOSE 80\n" };

async function entriesOf({ get }: ApiFixture, query = ""): Promise<Entry[]> {
  return (await get(`/admin/audit${query}`)).json as Entry[];
}

async function publishedId(stand: ApiFixture): Promise<string> {
  await stand.publish("pack", FILES);
  return (await stand.store.containers.all())[0]?.id ?? "";
}

t.test("who did what to what is kept, with the client's address and the request's id, the newest first", async (t) => {
  const stand = await openApiFixture(t);
  const { get, call } = stand;
  const id = await publishedId(stand);
  const headers = { ...JSON_TYPE, "x-berth-client": "203.0.113.9", "x-request-id": "req-1" };
  await call("/users/login/dev", { method: "POST", headers: { authorization: `Dev ${ADMIN_KEY}` } });
  await get("/users", { method: "POST", headers, body: JSON.stringify({ login: "anna" }) });
  await get("/users/anna/keys", { method: "POST", headers: JSON_TYPE, body: "{}" });
  await get(`/docker/containers/${id}/run`);
  await get("/credentials/for/pack", { method: "POST", body: JSON.stringify({ PASSWORD: "hush" }) });
  await get(`/docker/containers/${id}`, { method: "DELETE" });
  const entries = await entriesOf(stand);
  t.same(
    entries.map(({ action, target, login, via }) => [action, target, login, via]),
    [
      ["containerDeleted", `pack-app (${id})`, "admin", "authorization"],
      ["credentialsReplaced", "pack", "admin", "authorization"],
      ["containerStarted", `pack-app (${id})`, "admin", "authorization"],
      ["keyMade", "anna", "admin", "authorization"],
      ["userAdded", "anna", "admin", "authorization"],
      ["signedIn", null, "admin", "devKey"],
      ["packagePublished", "pack", "admin", "devKey"],
    ],
  );
  t.match(entries[4], { address: "203.0.113.9", requestId: "req-1", status: 200 });
  t.notMatch(JSON.stringify(stand.store.audit.list({ limit: 100 })), /hush|admin-dev-key/);
});

t.test("refused calls and reads are not in the list, and only administrators see it", async (t) => {
  const stand = await openApiFixture(t);
  const id = await publishedId(stand);
  const { token } = await stand.addUser("eve");
  const asEve = { headers: { authorization: token } };
  t.equal((await stand.call(`/docker/containers/${id}/run`, asEve)).status, 403);
  t.equal((await stand.call("/users/login/dev", { method: "POST", headers: { authorization: "Dev wrong" } })).status, 401);
  t.equal((await stand.call("/docker/containers", asEve)).status, 200);
  t.equal((await stand.call("/admin/audit", asEve)).status, 403);
  t.equal((await stand.call("/admin/audit")).status, 401);
  t.same(
    (await entriesOf(stand)).map(({ action }) => action),
    ["packagePublished"],
  );
});

t.test("the start of a client that stops waiting is recorded", async (t) => {
  const stand = await openApiFixture(t);
  const id = await publishedId(stand);
  const leaving = new AbortController();
  const started = stand.get(`/docker/containers/${id}/run?awaitStart=true`, { signal: leaving.signal }).catch(() => undefined);
  await eventually("the request waits", () => stand.waits.length === 1);
  leaving.abort();
  await started;
  await eventually("the entry is written", async () => (await stand.store.audit.list({ limit: 1 }))[0]?.action === "containerStarted");
  t.match((await entriesOf(stand))[0], { action: "containerStarted", login: "admin", status: null });
});

t.test("a start that fails is recorded too, with the status of its response", async (t) => {
  const stand = await openApiFixture(t);
  const id = await publishedId(stand);
  for (const [command, action] of [
    ["run?awaitStart=true", "containerStarted"],
    ["stop?awaitStop=true", "containerStopped"],
    ["restart?awaitStart=true", "containerRestarted"],
  ] as const) {
    const pending = stand.get(`/docker/containers/${id}/${command}`, { method: command.startsWith("restart") ? "POST" : "GET" });
    await eventually("the request waits", () => stand.waits.length === 1);
    await stand.waits.pop()?.settle({ state: "ERROR", fault: { code: "CONTAINER_CRASHED", message: "It ended." } });
    t.equal((await pending).status, 500);
    t.match((await entriesOf(stand))[0], { action, login: "admin", status: 500 });
  }
});

t.test("entries are found by action, login, target and time, page by page, and forgotten when they are old", async (t) => {
  const clock = createStillClock();
  const stand = await openApiFixture(t, {}, clock);
  const add = (login: string) => stand.get("/users", { method: "POST", headers: JSON_TYPE, body: JSON.stringify({ login }) });
  for (const login of ["a1", "b2", "c3"]) {
    await add(login);
    await clock.advance(60_000);
  }
  const targets = async (query: string) => (await entriesOf(stand, query)).map(({ target }) => target);
  const at = (minutes: number) => encodeURIComponent(new Date(clock.now() - minutes * 60_000).toISOString());
  t.same(await targets("?limit=2"), ["c3", "b2"]);
  t.same(await targets(`?limit=2&before=${(await entriesOf(stand))[1]?.seq}`), ["a1"]);
  t.same(await targets("?target=b"), ["b2"]);
  t.same(await targets("?action=userRemoved"), []);
  t.same(await targets("?login=admin&action=userAdded"), ["c3", "b2", "a1"]);
  t.same(await targets(`?from=${at(2)}&to=${at(1)}`), ["b2"]);
  t.equal((await stand.get("/admin/audit?action=nonsense")).status, 400);
  await clock.advance(86_400_000 - 90_000);
  await add("d4");
  t.same(await targets(""), ["d4", "c3"]);
});

t.test("a page that cannot be is refused, not an internal error", async (t) => {
  const { get } = await openApiFixture(t);
  for (const query of ["before=1e308", "before=9223372036854775808", "from=2016-12-31T23:59:60Z", "to=2016-12-31T23:59:60Z"])
    t.match(await get(`/admin/audit?${query}`), { status: 400, json: { code: "REQUEST_INVALID" } }, query);
});

t.test("a leader whose entry in the audit log cannot be written answers that, and goes on leading", async (t) => {
  let isAway = true;
  let stepDowns = 0;
  const process = (id: string) => ({ id, name: id, url: "", version: "", ageMs: 0, upMs: 1 });
  const database = { name: "berth", roundTripMs: 1 };
  const stand = await openApiFixture(t, {}, undefined, ({ audit }) => ({
    audit: {
      ...audit,
      append: async (entry) => {
        if (isAway) throw new Fault("STORE_UNAVAILABLE", "The database is away.");
        return audit.append(entry);
      },
    },
    election: {
      status: async () => ({ epoch: 1, leader: "one", processes: [process("one"), process("two")], database }),
      stepDown: () => void stepDowns++,
    },
  }));
  const stepDown = () => stand.get("/admin/control/step-down", { method: "POST" });
  t.match(await stepDown(), { status: 503, json: { code: "STORE_UNAVAILABLE" } });
  t.equal(stepDowns, 0);
  isAway = false;
  t.match(await stepDown(), { status: 200, json: { epoch: 1 } });
  await eventually("it steps down", async () => stepDowns === 1);
});

t.test("a route that changes something and has no audit keeps berth from starting", async (t) => {
  const audit = { append: async () => undefined };
  const app = fastify();
  recordAudit(app, { audit }, { actor: () => undefined });
  t.throws(() => app.post("/api/something/new", () => ({})));
  t.throws(() => app.get("/api/something/else", { config: { mutates: true } }, () => ({})));
  app.get("/api/something/read", () => ({}));
  t.equal((await app.inject("/api/something/read")).statusCode, 200);
});
