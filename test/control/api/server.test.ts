import t from "tap";
import { tokenDigest } from "../../../control/identity/sessions.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { ADMIN_KEY, openApiFixture } from "./fixtures/open-api-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

t.test("what clients ask before they sign in is answered", async (t) => {
  const { call } = await openApiFixture(t);
  t.same((await call("/info/server")).json, { Version: "0.1.0", webRoot: "http://berth.example:8080" });
  t.same((await call("/info/server", { headers: { "x-forwarded-proto": "https" } })).json.webRoot, "https://berth.example:8080");
  t.same((await call("/admin/startup_data")).json, { webRoot: "http://berth.example:8080" });
  t.same((await call("/admin/health")).json, { status: "ok" });
  t.equal((await call("/admin/health", { method: "HEAD" })).status, 200);
});

t.test("a configured public address is the reported one", async (t) => {
  const { call } = await openApiFixture(t, { webRoot: "https://public.example" });
  t.equal((await call("/info/server")).json.webRoot, "https://public.example");
  t.equal((await call("/admin/startup_data")).json.webRoot, "https://public.example");
});

t.test("an unknown route is an ApiError, signed in or not", async (t) => {
  const { call, get } = await openApiFixture(t);
  for (const answer of [await call("/nowhere"), await get("/nowhere"), await get("/docker/containers", { method: "PUT" })]) {
    t.equal(answer.status, 404);
    t.match(answer.json, { "#type": "ApiError", code: "ROUTE_NOT_FOUND" });
  }
});

t.test("a request without a body may name the type of JSON", async (t) => {
  const { call, get } = await openApiFixture(t);
  const headers = { "content-type": "application/json" };
  const signIn = await call("/users/login/dev", { method: "POST", headers: { ...headers, authorization: `Dev ${ADMIN_KEY}` } });
  t.match(signIn, { status: 200, json: { isSuccess: true } });
  t.match(await get("/users", { method: "POST", headers }), {
    status: 400,
    json: { code: "REQUEST_INVALID", message: /no body of type application\/json/ },
  });
  const form = { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" }, body: '{"login":"x"}' };
  t.match(await get("/users", form), { status: 400, json: { message: /no body of type application\/json/ } }, "as curl -d sends it");
  t.match(await get("/users", { method: "POST", headers, body: "[]" }), { status: 400, json: { message: "body must be object." } });
  t.match(await get("/users", { method: "POST", headers, body: '{"login":' }), { status: 400, json: { code: "REQUEST_INVALID" } });
  t.match(await get("/users", { method: "POST", headers, body: '{"login":"x","__proto__":{"admin":true}}' }), { status: 400 });
  const large = (count: number) => ({
    method: "POST",
    headers,
    body: JSON.stringify({ login: `many${count}`, more: Array.from({ length: count }, () => []) }),
  });
  t.equal((await get("/users", large(10_000))).status, 200);
  t.match(await get("/users", large(20_000)), { status: 400, json: { code: "REQUEST_INVALID" } }, "as parsing it would hold the event loop");
});

t.test("a HEAD starts nothing", async (t) => {
  const { get, publish, commands } = await openApiFixture(t);
  const { json } = await publish("walk", { "dockerfiles/app/Dockerfile": "FROM a\nEXPOSE 80\n" });
  t.equal((await get(`/docker/containers/${json.containers[0].id}/run`, { method: "HEAD" })).status, 404);
  t.notMatch(commands.join(), /start/);
});

t.test("the OpenAPI description lists each route, with its answers", async (t) => {
  const { call } = await openApiFixture(t);
  const { status, json } = await call("/openapi.json");
  t.equal(status, 200);
  t.match(json.openapi, /^3\./);
  const routes = Object.entries(json.paths as Record<string, Record<string, { responses: object; summary?: string; tags?: string[] }>>);
  t.ok(routes.length > 20);
  for (const [path, methods] of routes) {
    for (const [method, { responses, summary, tags }] of Object.entries(methods)) {
      t.ok(summary && tags?.length, `${method} ${path} says what it does`);
      t.match(Object.keys(responses), ["200", "4XX", "5XX"], `${method} ${path} says what it answers`);
    }
  }
});

t.test("a store that fails is a plain 500 without detail", async (t) => {
  const { get, store } = await openApiFixture(t);
  store.images.ids = () => {
    throw new TypeError("secret detail");
  };
  const { status, json, text } = await get("/docker/images");
  t.equal(status, 500);
  t.match(json, { "#type": "ApiError", code: "INTERNAL" });
  t.notMatch(text, /secret detail/);
});

t.test("only administrators read the whole server, without keys, also while the orchestrator is silent", async (t) => {
  const clock = createStillClock();
  const stand = await openApiFixture(t, {}, clock);
  const { token, key } = await stand.addUser("eve");
  t.equal((await stand.call("/admin/stand", { headers: { authorization: token } })).status, 403);
  t.match((await stand.get("/admin/stand")).json, { capacity: { machines: 1, cpu: 4 }, backend: { driver: "process" }, gateways: 1 });
  let isCalled = false;
  stand.backend.capacity = (signal) => {
    isCalled = true;
    return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
  };
  const silent = stand.get("/admin/stand");
  await eventually("the driver is called", () => isCalled);
  await clock.advance(5_000);
  const { status, text, json } = await silent;
  t.equal(status, 200);
  t.match(json, { capacity: null, developerKeys: [{ login: "admin" }, { login: "eve" }] });
  for (const secret of [ADMIN_KEY, key, tokenDigest(key), token]) t.notMatch(text, secret);
});

t.test("the settings in force have their sources, and no secret", async (t) => {
  const stand = await openApiFixture(t);
  const { token } = await stand.addUser("eve");
  t.equal((await stand.call("/admin/settings", { headers: { authorization: token } })).status, 403);
  t.equal((await stand.call("/admin/settings")).status, 401);
  const { json, text } = await stand.get("/admin/settings");
  const settings = json as { key: string }[];
  const find = (key: string) => settings.find((one) => one.key === key);
  t.match(find("workers"), { variable: "BERTH_WORKERS", value: 3, origin: "environment", source: "BERTH_WORKERS" });
  t.match(find("edgePort"), { value: 8_080, default: 8_080, origin: "default", source: "default" });
  t.match(find("adminKey"), { value: "***", default: null, origin: "environment" });
  t.match(find("datagrok.url"), { value: "https://***@example.org/api" });
  for (const secret of [ADMIN_KEY, "hush"]) t.notMatch(text, secret);
});
