import t from "tap";
import { openStand } from "./fixtures/api-stand.ts";

t.test("what clients ask before they sign in is answered", async (t) => {
  const { call } = await openStand(t);
  t.same((await call("/info/server")).json, { Version: "0.1.0", webRoot: "http://berth.example:8080" });
  t.same((await call("/info/server", { headers: { "x-forwarded-proto": "https" } })).json.webRoot, "https://berth.example:8080");
  t.same((await call("/admin/startup_data")).json, { webRoot: "http://berth.example:8080" });
  t.same((await call("/admin/health")).json, { status: "ok" });
  t.equal((await call("/admin/health", { method: "HEAD" })).status, 200);
});

t.test("a public address that was set is the one that is told", async (t) => {
  const { call } = await openStand(t, { webRoot: "https://public.example" });
  t.equal((await call("/info/server")).json.webRoot, "https://public.example");
  t.equal((await call("/admin/startup_data")).json.webRoot, "https://public.example");
});

t.test("an unknown route is an ApiError, signed in or not", async (t) => {
  const { call, get } = await openStand(t);
  for (const answer of [await call("/nowhere"), await get("/nowhere"), await get("/docker/containers", { method: "PUT" })]) {
    t.equal(answer.status, 404);
    t.match(answer.json, { "#type": "ApiError", code: "ROUTE_NOT_FOUND" });
  }
});

t.test("a HEAD starts nothing", async (t) => {
  const { get, publish, wishes } = await openStand(t);
  const { json } = await publish("walk", { "dockerfiles/app/Dockerfile": "FROM a\nEXPOSE 80\n" });
  t.equal((await get(`/docker/containers/${json.containers[0].id}/run`, { method: "HEAD" })).status, 404);
  t.notMatch(wishes.join(), /start/);
});

t.test("the OpenAPI description lists each route, with its answers", async (t) => {
  const { call } = await openStand(t);
  const { status, json } = await call("/openapi.json");
  t.equal(status, 200);
  t.match(json.openapi, /^3\./);
  const listed = Object.entries(json.paths as Record<string, Record<string, object>>).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method} ${path}`),
  );
  t.same(listed.toSorted(), [
    "delete /api/users/{login}",
    "delete /api/users/{login}/keys/{id}",
    "get /api/admin/health",
    "get /api/admin/startup_data",
    "get /api/docker/containers",
    "get /api/docker/containers/count",
    "get /api/docker/containers/{id}",
    "get /api/docker/containers/{id}/logs",
    "get /api/docker/containers/{id}/run",
    "get /api/docker/containers/{id}/stop",
    "get /api/docker/images",
    "get /api/docker/images/{id}",
    "get /api/docker/images/{id}/revalidate",
    "get /api/info/server",
    "get /api/packages/dev/{first}/{name}/timestamps",
    "get /api/packages/dev/{key}/{scope}/{name}/timestamps",
    "get /api/packages/dev/{name}/timestamps",
    "get /api/users",
    "get /api/users/current",
    "get /api/users/{login}/keys",
    "patch /api/users/{login}",
    "post /api/packages/dev/{first}/{name}",
    "post /api/packages/dev/{key}/{scope}/{name}",
    "post /api/packages/dev/{name}",
    "post /api/users",
    "post /api/users/login/dev",
    "post /api/users/login/dev/{key}",
    "post /api/users/logout",
    "post /api/users/{login}/keys",
  ]);
});

t.test("a store that fails is a plain 500 without detail", async (t) => {
  const { get, store } = await openStand(t);
  store.images.all = () => {
    throw new TypeError("secret detail");
  };
  const { status, json, text } = await get("/docker/images");
  t.equal(status, 500);
  t.match(json, { "#type": "ApiError", code: "INTERNAL" });
  t.notMatch(text, /secret detail/);
});
