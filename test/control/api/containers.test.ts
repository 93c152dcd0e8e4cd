import t from "tap";
import { tokenDigest } from "../../../control/identity/sessions.ts";
import { Fault } from "../../../lib/fault.ts";
import { openApiFixture, type ApiFixture } from "./fixtures/open-api-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const UNKNOWN = "3f1c9a52-7b0e-4d16-9a41-0123456789ab";
const ZERO = "00000000-0000-0000-0000-000000000000";

const WALK = {
  "dockerfiles/app/Dockerfile": "FROM a\nEXPOSE 80\n",
  "dockerfiles/app/container.json": '{"env":{"PASSWORD":"hidden"},"on_demand":true}',
  "dockerfiles/db/container.json": '{"image":"postgres:16","port":5432}',
};

async function walk(stand: ApiFixture): Promise<{ app: string; db: string }> {
  const { json } = await stand.publish("walk", WALK);
  return { app: json.containers[0].id, db: json.containers[1].id };
}

t.test("lists are arrays, empty where there is nothing", async (t) => {
  const { get } = await openApiFixture(t);
  for (const path of ["/docker/containers", "/docker/images"]) t.equal((await get(path)).text, "[]");
  t.equal((await get("/docker/containers/count")).text, "0");
});

t.test("a container has the fields and the words that clients know", async (t) => {
  const stand = await openApiFixture(t);
  const { app } = await walk(stand);
  const { json } = await stand.get(`/docker/containers/${app}`);
  t.match(json, {
    "#type": "DockerContainer",
    id: app,
    name: "walk-app",
    friendlyName: "walk-app",
    dockerfile: { "#type": "DockerImage", name: "walk-app", status: "pending validation", dockerfile: WALK["dockerfiles/app/Dockerfile"] },
    dockerImage: /^datagrok\/walk-app:1\.0\.0\.[0-9a-f]{8}$/,
    serviceName: /^test-walk-app-[0-9a-f]{8}$/,
    status: "stopped by system",
    desiredInstances: 0,
    address: null,
    port: 80,
    lastLogs: "",
    lastActive: null,
    environmentVars: { PASSWORD: "hidden" },
  });
});

t.test("text filters arrive encoded twice, as a word or as a comparison", async (t) => {
  const stand = await openApiFixture(t);
  await walk(stand);
  const twice = (text: string) => encodeURIComponent(encodeURIComponent(text));
  for (const [text, names] of [
    ["", ["walk-app", "walk-db"]],
    ["APP", ["walk-app"]],
    ["nothing", []],
    ['name = "walk-db"', ["walk-db"]],
    ['name="walk-db"', ["walk-db"]],
    ['name = "walk"', []],
    ['friendlyName = "Walk-App"', ["walk-app"]],
    ['status = "stopped by user"', ["walk-db"]],
    ["100%", []],
    ['"', []],
  ] as const) {
    const { status, json } = await stand.get(`/docker/containers?text=${twice(text)}`);
    t.equal(status, 200);
    t.same(
      json.map(({ name }) => name),
      names,
      text,
    );
  }
  t.same((await stand.get(`/docker/containers?text=${encodeURIComponent('name = "walk-db"')}`)).json.length, 1, "once will do");
  t.same((await stand.get(`/docker/containers/count?text=${twice("app")}`)).json, 1);
  t.match((await stand.get(`/docker/containers?text=${twice('constructor = "x"')}`)).json, { code: "REQUEST_INVALID" });
});

t.test("lists are ordered and paged", async (t) => {
  const stand = await openApiFixture(t);
  await walk(stand);
  const names = async (query: string) => (await stand.get(`/docker/containers?${query}`)).json.map(({ name }) => name);
  t.same(await names("order=name"), ["walk-app", "walk-db"]);
  t.same(await names("order=!name"), ["walk-db", "walk-app"]);
  t.same(await names("order=name&limit=1"), ["walk-app"]);
  t.same(await names("order=name&limit=1&page=0"), ["walk-app"]);
  t.same(await names("order=name&limit=1&page=1"), ["walk-app"], "pages count from 1");
  t.same(await names("order=name&limit=1&page=2"), ["walk-db"]);
  t.same(await names("order=name&limit=1&page=3"), []);
  t.same(await names("limit=0&include=dockerfile"), ["walk-app", "walk-db"]);
  for (const query of ["order=nonsense", "limit=-1", "limit=x", "page=-1"]) {
    t.match(await stand.get(`/docker/containers?${query}`), { status: 400, json: { "#type": "ApiError", code: "REQUEST_INVALID" } }, query);
  }
});

t.test("an unknown or malformed id gets an error that the client does not swallow", async (t) => {
  const { get } = await openApiFixture(t);
  for (const [path, status, code] of [
    [`/docker/containers/${UNKNOWN}`, 404, "CONTAINER_NOT_FOUND"],
    [`/docker/containers/${ZERO}`, 404, "CONTAINER_NOT_FOUND"],
    ["/docker/containers/nonsense", 400, "ID_INVALID"],
    [`/docker/containers/${UNKNOWN}/explain`, 404, "CONTAINER_NOT_FOUND"],
    [`/docker/containers/${UNKNOWN}/wakes`, 404, "CONTAINER_NOT_FOUND"],
    [`/docker/containers/${UNKNOWN}/open`, 404, "CONTAINER_NOT_FOUND"],
    [`/docker/containers/${UNKNOWN}/container-json`, 404, "CONTAINER_NOT_FOUND"],
    [`/docker/containers/${UNKNOWN}/run`, 400, "REQUEST_INVALID"],
    [`/docker/containers/${UNKNOWN}/stop`, 400, "REQUEST_INVALID"],
    [`/docker/containers/${UNKNOWN}/logs`, 400, "REQUEST_INVALID"],
    ["/docker/containers/nonsense/run", 400, "ID_INVALID"],
    ["/docker/containers/nonsense/stop", 400, "ID_INVALID"],
    ["/docker/containers/nonsense/logs", 400, "ID_INVALID"],
    [`/docker/containers/${"x".repeat(400)}`, 400, "ID_INVALID"],
    [`/docker/containers/${UNKNOWN}/run?awaitStart=nonsense`, 400, "REQUEST_INVALID"],
  ] as const) {
    const { status: got, json } = await get(path);
    t.equal(got, status, path);
    t.match(json, { "#type": "ApiError", code }, path);
  }
});

t.test("container.json is shown as its author wrote it, to those who may manage the container", async (t) => {
  const stand = await openApiFixture(t);
  const written = '{\n  "cpu": 2, "unknownKey": [1],\n  "env": { "API_KEY": "secret" }\n}\n';
  const at = (folder: string) => ({ [`dockerfiles/${folder}/Dockerfile`]: "FROM node\nEXPOSE 80\n" });
  const { json } = await stand.publish("written", { ...at("app"), ...at("plain"), "dockerfiles/app/container.json": written });
  const [app, plain] = json.containers as { id: string }[];
  const textOf = async (id: string | undefined, headers = {}) => (await stand.get(`/docker/containers/${id}/container-json`, { headers })).json;
  t.strictSame(await textOf(app?.id), { text: written });
  t.strictSame(await textOf(plain?.id), { text: null }, "the folder has none");
  await stand.publish("written", { ...at("app"), "dockerfiles/app/container.json": "{}" });
  t.strictSame(await textOf(app?.id), { text: "{}" }, "of the present version");
  const other = await stand.addUser("bert");
  t.match(await textOf(app?.id, { authorization: other.token }), { code: "NOT_PERMITTED" });
});

t.test("run and stop return as soon as the desired state is recorded", async (t) => {
  const stand = await openApiFixture(t);
  const { app } = await walk(stand);
  stand.commands.length = 0;
  t.equal((await stand.get(`/docker/containers/${app}/run`)).status, 200);
  t.equal((await stand.get(`/docker/containers/${app.toUpperCase()}/stop?awaitStop=false`)).status, 200);
  t.same(stand.commands, [`start ${app}`, `stop ${app}`]);
  t.equal(stand.waits.length, 0);
});

const fault = new Fault("CONTAINER_CRASHED", "It ended with code 1.", { logs: ["line 1", "line 2"] }).toJSON();

t.test("awaited, they return when it is done, with the cause where it failed", async (t) => {
  const stand = await openApiFixture(t);
  const { app } = await walk(stand);
  for (const [query, patch, status, error] of [
    ["run?awaitStart=true", { state: "STARTED" }, 200, undefined],
    [
      "run?awaitStart=true",
      { state: "ERROR", fault },
      500,
      { code: "CONTAINER_CRASHED", message: "It ended with code 1.", innerMessage: "line 1\nline 2" },
    ],
    ["run?awaitStart=true", { state: "USER_STOPPED" }, 400, { code: "CONTAINER_STOPPED" }],
    ["stop?awaitStop=true", { state: "USER_STOPPED" }, 200, undefined],
    ["stop?awaitStop=true", { state: "ERROR", fault }, 500, { code: "CONTAINER_CRASHED" }],
  ] as const) {
    const answer = stand.get(`/docker/containers/${app}/${query}`);
    await eventually("the request waits", () => stand.waits.length === 1);
    await stand.waits.pop()?.settle(patch);
    const { status: got, json } = await answer;
    t.equal(got, status, query);
    if (error) t.match(json, { "#type": "ApiError", ...error });
  }
});

t.test("a client that leaves ends the wait, but keeps the desired state", async (t) => {
  const stand = await openApiFixture(t);
  const { app } = await walk(stand);
  stand.commands.length = 0;
  const client = new AbortController();
  const answer = stand.get(`/docker/containers/${app}/run?awaitStart=true`, { signal: client.signal });
  await eventually("the request waits", () => stand.waits.length === 1);
  t.equal(stand.waits[0]?.signal.aborted, false);
  client.abort();
  await t.rejects(answer);
  await eventually("the call is aborted", () => stand.waits[0]?.signal.aborted === true);
  t.same(stand.commands, [`start ${app}`]);
});

t.test("logs are raw text, and the last known ones where it does not run", async (t) => {
  const stand = await openApiFixture(t);
  const { app } = await walk(stand);
  const service = (await stand.store.containers.find(app))?.service ?? "";
  const logs = async (query = "") => stand.get(`/docker/containers/${app}/logs${query}`);

  t.match(await logs(), { status: 200, text: "", headers: { "content-type": "text/plain; charset=utf-8" } }, "none yet");
  await stand.store.containers.update(app, { lastLogs: "one\ntwo\nthree\n" });
  t.equal((await logs()).text, "one\ntwo\nthree\n");
  t.equal((await logs("?limit=2")).text, "two\nthree\n");
  stand.logs.set(service, ["now ", '"quoted"\n']);
  t.equal((await logs("?limit=10000")).text, 'now "quoted"\n');
  stand.logs.set(service, new Fault("ENGINE_UNREACHABLE", "gone"));
  t.equal((await logs()).text, "one\ntwo\nthree\n", "the engine is unavailable");
  await stand.store.containers.update(app, { lastLogs: "" });
  t.match(await logs(), { status: 500, json: { code: "ENGINE_UNREACHABLE" } });
  await stand.store.containers.update(app, { lastLogs: "of the run before\n" });
  stand.logs.set(service, ["of this run\n"]);
  t.equal((await logs("?previous=true")).text, "of the run before\n");
  t.equal((await logs("?previous=true&follow=true")).text, "of the run before\n");
  t.equal((await logs("?timestamps=true")).text, "2026-11-30T03:20:01.123Z of this run\n");
  stand.logs.set(service, []);
  for (const state of ["PENDING_START", "STARTING", "STARTED"] as const)
    await stand.store.containers.move(app, (await stand.store.containers.find(app))?.state ?? state, state, {});
  t.equal((await logs()).text, "", "it runs, and has written nothing yet: the lines of the run before are not its own");
  t.match(await logs("?limit=0"), { status: 400, json: { code: "REQUEST_INVALID" } });
});

t.test("every signed-in user reads; author and admins act, and see what is inside", async (t) => {
  const stand = await openApiFixture(t);
  const author = await stand.addUser("anna");
  const other = await stand.addUser("bert");
  const { json } = await stand.publish("walk", WALK, { key: author.key });
  const id: string = json.containers[0].id;
  await stand.store.containers.update(id, { lastLogs: "inside" });
  const imageId: string = json.images[0].id;
  for (const [who, token, allowed] of [
    ["the author", author.token, true],
    ["an admin", stand.token, true],
    ["another user", other.token, false],
  ] as const) {
    const as = (path: string) => stand.call(path, { headers: { authorization: token } });
    for (const path of [
      `/docker/containers/${id}/run`,
      `/docker/containers/${id}/stop`,
      `/docker/containers/${id}/logs`,
      `/docker/images/${imageId}/revalidate`,
    ]) {
      const { status, json: answer } = await as(path);
      t.equal(status, allowed ? 200 : 403, `${who}: ${path}`);
      if (!allowed) t.equal(answer.code, "NOT_PERMITTED");
    }
    const container = (await as(`/docker/containers/${id}`)).json;
    t.equal(container.environmentVars.PASSWORD, allowed ? "hidden" : "***", who);
    t.equal(container.lastLogs, allowed ? "inside" : "", who);
    t.same((await as("/docker/containers?text=app")).json, [container], `${who}: the list says the same`);
    t.equal((await as(`/docker/images/${imageId}`)).status, 200);
  }
});

t.test("the address of a container with a TCP listener is the listener's, for all users", async (t) => {
  const stand = await openApiFixture(t);
  const other = await stand.addUser("bert");
  const published = await stand.publish("walk", { ...WALK, "dockerfiles/db/container.json": '{"image":"postgres:16","port":5432,"tcp":true}' });
  t.strictSame(published.json.warnings, ["dockerfiles/db: tcp has no effect, because this server has no TCP listeners (BERTH_TCP_PORTS)."]);
  const [app, db] = published.json.containers as { id: string }[];
  await stand.store.containers.update(db?.id ?? "", { tcpPort: 20_000, addresses: [{ host: "10.0.0.1", port: 5432 }] });
  for (const authorization of [stand.token, other.token]) {
    const { json } = await stand.call(`/docker/containers/${db?.id}`, { headers: { authorization } });
    t.match(json, { address: "berth.internal", port: 20_000, config: { tcp: true } });
  }
  const { json } = await stand.call(`/docker/containers/${app?.id}`, { headers: { authorization: other.token } });
  t.match(json, { address: null, port: null }, "that of others is not shown");
});

t.test("a container says that it is busy with its own token, of itself only; who may stop it may say so too", async (t) => {
  const stand = await openApiFixture(t);
  const { app, db } = await walk(stand);
  const other = await stand.addUser("bert");
  const token = "the-container's-own";
  await stand.store.containers.move(app, "SYSTEM_STOPPED", "STARTED", {});
  const session = { digest: tokenDigest(token), userId: other.user.id, expiresOn: Number.MAX_SAFE_INTEGER, keyDigest: undefined, containerId: app };
  await stand.store.sessions.insert(session);
  const say = (id: string, key: string, seconds: unknown = 60) =>
    stand.call(`/docker/containers/${id}/lease`, {
      method: "POST",
      headers: { "x-user-api-key": key, "content-type": "application/json" },
      body: JSON.stringify({ seconds }),
    });
  stand.commands.length = 0;
  for (const [id, key, status, code] of [
    ["self", token, 200, undefined],
    [app, token, 200, undefined],
    [db, token, 403, "NOT_PERMITTED"],
    ["self", stand.token, 400, "REQUEST_INVALID"],
    [app, stand.token, 200, undefined],
    [app, other.token, 403, "NOT_PERMITTED"],
    [UNKNOWN, stand.token, 404, "CONTAINER_NOT_FOUND"],
  ] as const) {
    const answer = await say(id, key);
    t.equal(answer.status, status, `${id} ${code}`);
    if (code) t.equal(answer.json.code, code);
  }
  t.same(stand.commands, Array(3).fill(`busy ${app}`));
  for (const seconds of [-1, "soon"]) t.equal((await say(app, stand.token, seconds)).status, 400, String(seconds));
});

t.test("with a browser's cookie, only pages of the same or an allowed origin change anything", async (t) => {
  const stand = await openApiFixture(t, { origins: ["https://allowed.example"] });
  const { app } = await walk(stand);
  const cookie = `auth=${stand.token}`;
  for (const [what, headers, status] of [
    ["says nothing", {}, 403],
    ["same origin, by Sec-Fetch-Site", { "sec-fetch-site": "same-origin" }, 200],
    ["no page: typed by the user, or a link in a mail", { "sec-fetch-site": "none" }, 403],
    ["same origin, by Origin", { origin: "http://berth.example:8080" }, 200],
    ["same origin behind TLS", { origin: "https://berth.example:8080" }, 200],
    ["same origin, by Referer", { referer: "http://berth.example:8080/page" }, 200],
    ["an allowed origin", { origin: "https://allowed.example", "sec-fetch-site": "cross-site" }, 200],
    ["another site", { "sec-fetch-site": "cross-site" }, 403],
    ["a sub domain", { "sec-fetch-site": "same-site", origin: "https://x.berth.example" }, 403],
    ["another origin", { origin: "https://evil.example" }, 403],
    ["another port", { origin: "http://berth.example:9090" }, 403],
    ["a sandboxed page", { origin: "null", referer: "http://berth.example:8080/" }, 403],
    ["a token in a header beside the cookie", { authorization: stand.token, origin: "https://evil.example" }, 200],
  ] as const) {
    const answer = await stand.call(`/docker/containers/${app}/run`, { headers: { cookie, ...headers } });
    t.equal(answer.status, status, what);
    if (status === 403) t.equal(answer.json.code, "ORIGIN_NOT_PERMITTED");
  }
  t.equal((await stand.call("/docker/containers", { headers: { cookie, origin: "https://evil.example" } })).status, 200, "reading needs no origin");
});
