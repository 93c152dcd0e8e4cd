import t from "tap";
import type { Entity } from "../../fixtures/berth.ts";
import { appFiles, type Json, openStand, raw, twice, UNKNOWN } from "./stand.ts";

const stand = await openStand(t);
const { call, json } = stand;
const FILES = { ...appFiles("app", "one", { on_demand: true, environmentVars: { GREETING: "hello" } }), ...appFiles("plain", "one") };
await stand.published("walk", FILES);
const app = await stand.container("walk-app");
const plain = await stand.container("walk-plain");
const names = async (query: string) => (await json<Entity[]>(`/docker/containers${query}`)).map(({ name }) => name);
const post = (body: object) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

t.test("GET docker/containers is an array, filtered, ordered and paged", async (t) => {
  t.same(await names("?order=name&include=dockerfile,package"), ["walk-app", "walk-plain"]);
  t.same(await names("?order=!name"), ["walk-plain", "walk-app"]);
  t.same(await names("?order=!name&limit=1"), ["walk-plain"]);
  t.same(await names("?order=!name&limit=1&page=1"), ["walk-plain"], "the first page is 1, and what clients send for 0");
  t.same(await names("?order=!name&limit=1&page=2"), ["walk-app"]);
  t.same((await names("?order=createdOn&limit=10")).toSorted(), ["walk-app", "walk-plain"], "made in one moment");
  for (const [filter, container] of [
    ["PLAIN", ["walk-plain"]],
    ['name = "walk-app"', ["walk-app"]],
    ['friendlyName = "WALK-APP"', ["walk-app"]],
    ['status = "stopped by user"', ["walk-plain"]],
    ['name != "walk-app" and status != "error"', ["walk-plain"]],
    ["name = walk-app and status = started", []],
    ["a name = b", []],
    ["100%", []],
    ["%", []],
    ["x' OR 'x'='x", []],
  ] as const) {
    t.same(await names(`?order=name&text=${twice(filter)}`), container, filter);
    t.equal(await json(`/docker/containers/count?text=${twice(filter)}`), container.length, `count: ${filter}`);
  }
  const none = await call(`/docker/containers?text=${twice("nothing at all")}`);
  t.equal(await none.text(), "[]");
});

t.test("GET docker/containers/count is a plain integer", async (t) => {
  t.equal(await (await call("/docker/containers/count")).text(), "2");
});

t.test("GET docker/containers/{id} has the fields that clients read, and is 404 for an unknown one", async (t) => {
  const container = await json(`/docker/containers/${app.id}`);
  t.match(container, {
    "#type": "DockerContainer",
    id: app.id,
    name: "walk-app",
    friendlyName: "walk-app",
    dockerImage: /^datagrok\/walk-app:1\.0\.0\.[0-9a-f]{8}$/,
    serviceName: String,
    status: "stopped by system",
    desiredInstances: 0,
    port: 8080,
    lastLogs: "",
    environmentVars: { GREETING: "hello" },
    config: { cpu: 0.25, memory: 512, gpu: 0, on_demand: true, shm_size: 64, storage: 21 },
  });
  t.ok(["address", "lastActive"].every((field) => field in container));
  t.match(container.dockerfile, { "#type": "DockerImage", name: "walk-app", status: "ready", dockerName: "walk-app", version: "1.0.0" });
  for (const field of ["friendlyName", "description", "dockerfile", "dockerfilePath", "logs", "imageRef", "createdOn", "updatedOn"]) {
    t.type(container.dockerfile[field], "string", field);
  }
  const unknown = await call(`/docker/containers/${UNKNOWN}`);
  t.equal(unknown.status, 404);
  t.match(await unknown.json(), { "#type": "ApiError", code: String, message: String, innerMessage: String });
});

t.test("GET docker/containers/{id}/run returns at once, or when started", async (t) => {
  t.ok((await call(`/docker/containers/${plain.id}/run?awaitStart=false`)).status < 400);
  t.equal((await call(`/docker/containers/${plain.id}/run?awaitStart=true`)).status, 200);
  t.equal((await json(`/docker/containers/${plain.id}`)).status, "started");
});

t.test("GET docker/containers/{id}/logs is raw text", async (t) => {
  const logs = await call(`/docker/containers/${plain.id}/logs?limit=10000`);
  t.match(logs.headers.get("content-type"), /^text\/plain/);
  t.equal(await logs.text(), "version one speaks\n");
});

t.test("GET docker/services and docker/services/{name}/logs are JSON", async (t) => {
  t.same(await json("/docker/services"), [app.serviceName, plain.serviceName].toSorted());
  for (const limit of ["?limit=5", "?limit=null", ""]) {
    t.equal(await json(`/docker/services/${encodeURIComponent(plain.serviceName)}/logs${limit}`), "version one speaks\n", limit);
  }
  t.match(await (await call("/docker/services/unknown/logs?limit=5")).json(), { "#type": "ApiError", code: "REQUEST_INVALID" });
});

t.test("GET docker/containers/{id}/stop returns at once, or when stopped", async (t) => {
  t.equal((await call(`/docker/containers/${plain.id}/stop?awaitStop=true`)).status, 200);
  t.equal((await json(`/docker/containers/${plain.id}`)).status, "stopped by user");
  t.ok((await call(`/docker/containers/${plain.id}/stop?awaitStop=false`)).status < 400);
});

t.test("run, stop and logs of an unknown container are 400, since a 404 is swallowed", async (t) => {
  for (const verb of ["run", "stop", "logs"]) t.equal((await call(`/docker/containers/${UNKNOWN}/${verb}`)).status, 400, verb);
});

t.test("HEAD changes nothing", async (t) => {
  for (const verb of ["run", "stop"]) t.equal((await call(`/docker/containers/${plain.id}/${verb}`, { method: "HEAD" })).status, 404);
  t.equal((await json(`/docker/containers/${plain.id}`)).status, "stopped by user");
});

t.test("POST docker/containers saves what a client may say, and passes over the rest", async (t) => {
  const before = await json(`/docker/containers/${app.id}`);
  const saved = await json(
    "/docker/containers",
    post({
      ...before,
      friendlyName: "The app",
      status: "started",
      serviceName: "x",
      environmentVars: { GREETING: "***", MORE: "1" },
      config: { memory: 256 },
    }),
  );
  t.match(saved, { id: app.id, friendlyName: "The app", status: "stopped by system", serviceName: before.serviceName });
  t.same(saved.environmentVars, { GREETING: "hello", MORE: "1" });
  t.match(saved.config, { memory: 256, cpu: 0.25, on_demand: true });
  t.same(await json(`/docker/containers/${app.id}`), saved);
  for (const [what, wrong] of [
    ["a name that is taken", { name: "walk-plain" }],
    ["a name that is none", { name: "../x" }],
    ["an unknown key", { config: { memroy: 1 } }],
    ["a wrong value", { config: { memory: "much" } }],
    ["an image by name", { config: { image: "postgres" } }],
    ["a variable without a name", { environmentVars: { "": "x" } }],
  ] as const) {
    t.match(await json("/docker/containers", post({ id: app.id, ...wrong })), { "#type": "ApiError", code: "REQUEST_INVALID" }, what);
  }
  t.same(await json(`/docker/containers/${app.id}`), saved);
});

t.test("POST docker/containers makes another container of an image, which DELETE takes away", async (t) => {
  const made = await json(
    "/docker/containers",
    post({ id: null, name: "walk-second", dockerfile: { id: app.dockerfile.id }, config: { port: 8080 } }),
  );
  t.match(made, { name: "walk-second", friendlyName: "walk-second", status: "stopped by user", dockerfile: { id: app.dockerfile.id } });
  t.equal((await call(`/docker/containers/${made.id}/run?awaitStart=true`)).status, 200);
  t.equal(await (await call(`/docker/containers/proxy/${made.id}/`)).text(), "one");

  const again = await stand.published("walk", FILES);
  t.equal(again.status, 200);
  t.equal((await json(`/docker/containers/${made.id}`)).status, "started", "publishing leaves it be");

  t.equal((await call(`/docker/containers/${made.id}`, { method: "DELETE" })).status, 200);
  t.same(await names("?order=name"), ["walk-app", "walk-plain"], "gone from lists at once");
  t.equal((await call(`/docker/containers/${made.id}`)).status, 404);
  t.equal((await call(`/docker/containers/proxy/${made.id}/`)).status, 404);
  t.equal((await call(`/docker/containers/${made.id}`, { method: "DELETE" })).status, 404);
  t.match(await json("/docker/containers", post({ name: "walk-third" })), { code: "REQUEST_INVALID" });
  t.match(await json("/docker/containers", post({ name: "walk-third", dockerfile: { id: UNKNOWN } })), { code: "IMAGE_ENTITY_NOT_FOUND" });
});

t.test("only the author and admins save and delete", async (t) => {
  const { token } = await stand.person("bert");
  const as = (path: string, init: RequestInit & { headers?: Record<string, string> }) =>
    call(path, { ...init, headers: { ...init.headers, authorization: token } });
  t.equal((await as("/docker/containers", post({ id: app.id, friendlyName: "mine" }))).status, 403);
  t.equal((await as("/docker/containers", post({ name: "mine", dockerfile: { id: app.dockerfile.id } }))).status, 403);
  t.equal((await as(`/docker/containers/${app.id}`, { method: "DELETE" })).status, 403);
  t.equal((await as(`/docker/services/${app.serviceName}/logs`, {})).status, 403);
  t.same(await names("?order=name"), ["walk-app", "walk-plain"]);
});

t.test("GET docker/images, docker/images/count and docker/images/{id}", async (t) => {
  const images = await json<Json[]>("/docker/images?order=!name");
  t.same(
    images.map(({ name }) => name),
    ["walk-plain", "walk-app"],
  );
  t.same(await json(`/docker/images?text=${twice('dockerName = "walk-app"')}`), [images[1]]);
  t.equal(await (await call(`/docker/images/count?text=${twice("app")}`)).text(), "1");
  t.same(await json(`/docker/images/${images[0].id}`), images[0]);
  t.equal((await call(`/docker/images/${UNKNOWN}`)).status, 404);
});

t.test("GET docker/images/{id}/revalidate succeeds, and the image is judged again", async (t) => {
  t.ok((await call(`/docker/images/${app.dockerfile.id}/revalidate`)).status <= 300);
  t.match((await json(`/docker/images/${app.dockerfile.id}`)).status, /^(pending validation|validating|ready)$/);
});

t.test("POST users/login/dev, its older form, and GET users/current", async (t) => {
  for (const [path, headers] of [
    ["/users/login/dev", { authorization: `Dev ${stand.key}` }],
    [`/users/login/dev/${stand.key}`, {}],
  ] as const) {
    const answer = JSON.parse((await raw(stand, "POST", path, headers)).text) as { isSuccess: boolean; token: string };
    t.equal(answer.isSuccess, true, path);
    t.match(await json("/users/current", { headers: { authorization: answer.token } }), { login: "admin" });
  }
  t.equal((await raw(stand, "POST", "/users/login/dev", { authorization: "Dev nonsense" })).status, 401);
  t.equal((await raw(stand, "GET", "/users/current")).status, 401);
});

t.test("GET info/server, admin/health and admin/startup_data need no sign-in", async (t) => {
  const { host } = new URL(stand.base);
  t.match(JSON.parse((await raw(stand, "GET", "/info/server")).text), { Version: /^\d+\.\d+\.\d+/, webRoot: stand.base });
  t.equal((await raw(stand, "GET", "/admin/health")).status, 200);
  t.match(JSON.parse((await raw(stand, "GET", "/admin/startup_data", { host })).text), { webRoot: stand.base });
});

t.test("only users who may manage a container see its address", async (t) => {
  const { token } = await stand.person("where");
  const as = async <T = Json>(path: string) => (await (await call(path, { headers: { authorization: token } })).json()) as T;
  t.equal((await call(`/docker/containers/${app.id}/run?awaitStart=true`)).status, 200);
  const own = await json(`/docker/containers/${app.id}`);
  t.match(own, { serviceName: app.serviceName, address: String, port: Number });
  const nothing = { serviceName: "", address: null, port: null };
  t.match(await as(`/docker/containers/${app.id}`), { id: app.id, status: "started", ...nothing });
  for (const one of await as<Json[]>("/docker/containers")) t.match(one, nothing);
  t.same(await as<string[]>("/docker/services"), []);
  t.equal((await call(`/docker/containers/${app.id}/explain`, { headers: { authorization: token } })).status, 403);
});
