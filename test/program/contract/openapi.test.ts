import t from "tap";
import { zipOf } from "../../fixtures/berth.ts";
import { appFiles, openStand, raw, UNKNOWN } from "./stand.ts";

type Route = { method: string; path: string };
type Sent = { status: number; text: string };

/** What there is none of here is refused. */
const REFUSED: Record<string, number> = {
  "get /users/login/oidc": 501,
  "post /users/login/device": 501,
  "post /users/login/device/token": 501,
  "put /users/{login}/subject": 501,
  "delete /admin/orphans": 400,
  "post /admin/control/step-down": 400,
  "post /users/login/ci": 401,
  "delete /users/{login}/sessions/{id}": 404,
  "delete /users/current/sessions/{id}": 404,
  "get /admin/registry/garbage": 404,
  "post /admin/registry/garbage": 404,
  "get /admin/registry/retention": 404,
  "post /admin/registry/retention": 404,
  "get /docker/registry/repositories": 404,
  "get /docker/registry/images": 404,
  "delete /docker/registry/images": 404,
  "post /packages/published/{name}/rollback": 400,
  "post /packages/published/{scope}/{name}/rollback": 400,
};

const FORM = { "content-type": "application/x-www-form-urlencoded" };

/** Every route of the description is called here, and answers as it should. A new route needs a new line. */
t.test("each route of openapi.json is called", async (t) => {
  const stand = await openStand(t);
  await stand.published("walk", appFiles("app", "one"));
  const { id, serviceName, dockerfile } = await stand.container("walk-app");
  const session = { authorization: stand.token };
  const dev = { authorization: `Dev ${stand.key}` };
  const json = { ...session, "content-type": "application/json" };
  const zip = async (name: string) => zipOf({ "package.json": JSON.stringify({ name, version: "1.0.0" }) });
  const body = (value: object) => new TextEncoder().encode(JSON.stringify(value));
  const call = (method: string, path: string, headers: Record<string, string> = session, sent?: Uint8Array) =>
    raw(stand, method, path, headers, sent);
  const keyId = async () => (JSON.parse((await call("GET", "/users/anna/keys")).text) as { id: string }[])[0]?.id ?? "";
  const kid = async () => (JSON.parse((await call("GET", "/admin/keys")).text) as { kid: string }[])[0]?.kid ?? "";

  const webhookId = async () => (JSON.parse((await call("GET", "/admin/webhooks")).text) as { id: string }[])[0]?.id ?? "";

  /** In the order in which they can follow each other. */
  const calls: Record<string, () => Promise<Sent>> = {
    "get /info/server": () => call("GET", "/info/server", {}),
    "get /admin/health": () => call("GET", "/admin/health", {}),
    "get /admin/startup_data": () => call("GET", "/admin/startup_data", {}),
    "get /admin/audit": () => call("GET", "/admin/audit"),
    "get /admin/settings": () => call("GET", "/admin/settings"),
    "get /admin/stand": () => call("GET", "/admin/stand"),
    "get /admin/control": () => call("GET", "/admin/control"),
    "post /admin/control/step-down": () => call("POST", "/admin/control/step-down"),
    "get /docker/registry/repositories": () => call("GET", "/docker/registry/repositories"),
    "get /docker/registry/images": () => call("GET", "/docker/registry/images?repository=datagrok/walk-app"),
    "delete /docker/registry/images": () => call("DELETE", `/docker/registry/images?repository=datagrok/walk-app&digest=sha256:${"0".repeat(64)}`),
    "get /admin/registry/garbage": () => call("GET", "/admin/registry/garbage"),
    "post /admin/registry/garbage": () => call("POST", "/admin/registry/garbage", json, body({ dryRun: true })),
    "get /admin/registry/retention": () => call("GET", "/admin/registry/retention"),
    "post /admin/registry/retention": () => call("POST", "/admin/registry/retention", json, body({ dryRun: true })),
    "get /docker/registry/owner": () => call("GET", "/docker/registry/owner?repository=datagrok/walk-app"),
    "put /docker/registry/owner": () => call("PUT", "/docker/registry/owner", json, body({ repository: "datagrok/given", login: "admin" })),
    "get /admin/orphans": () => call("GET", "/admin/orphans"),
    "delete /admin/orphans": () => call("DELETE", "/admin/orphans?service=unknown"),
    "get /docker/token": () => call("GET", "/docker/token?service=registry&scope=repository:datagrok/walk-app:pull", {}),
    "post /docker/token": () => call("POST", "/docker/token", FORM, Buffer.from(`grant_type=password&username=any&password=${stand.key}`)),
    "get /docker/keys": () => call("GET", "/docker/keys", {}),
    "get /.well-known/jwks.json": () => call("GET", "/.well-known/jwks.json", {}),
    "get /admin/webhooks": () => call("GET", "/admin/webhooks"),
    "post /admin/webhooks": () => call("POST", "/admin/webhooks", json, body({ url: "http://127.0.0.1:9/", events: ["image.ready"] })),
    "post /admin/webhooks/{id}/test": async () => call("POST", `/admin/webhooks/${await webhookId()}/test`),
    "get /admin/webhooks/{id}/deliveries": async () => call("GET", `/admin/webhooks/${await webhookId()}/deliveries`),
    "post /admin/webhooks/{id}/deliveries/{delivery}/redeliver": async () => {
      const webhook = await webhookId();
      const [delivery] = JSON.parse((await call("GET", `/admin/webhooks/${webhook}/deliveries`)).text) as { id: string }[];
      return call("POST", `/admin/webhooks/${webhook}/deliveries/${delivery?.id}/redeliver`);
    },
    "post /admin/webhooks/{id}/resume": async () => call("POST", `/admin/webhooks/${await webhookId()}/resume`),
    "delete /admin/webhooks/{id}": async () => call("DELETE", `/admin/webhooks/${await webhookId()}`),
    "get /admin/keys": () => call("GET", "/admin/keys"),
    "get /admin/images-in-use": () => call("GET", "/admin/images-in-use"),
    "post /admin/keys/rotate": () => call("POST", "/admin/keys/rotate"),
    "delete /admin/keys/{kid}": async () => call("DELETE", `/admin/keys/${await kid()}`),
    "post /users/login/ci": () =>
      call(
        "POST",
        "/users/login/ci",
        FORM,
        Buffer.from(
          `grant_type=${encodeURIComponent("urn:ietf:params:oauth:grant-type:token-exchange")}&subject_token=a.b.c&subject_token_type=urn:ietf:params:oauth:token-type:jwt`,
        ),
      ),
    "post /admin/trusted-publishers": () =>
      call(
        "POST",
        "/admin/trusted-publishers",
        json,
        body({
          name: "release",
          issuer: "https://token.actions.githubusercontent.com",
          claims: { repository: "acme/plugins" },
          login: "admin",
          packages: ["walk"],
        }),
      ),
    "get /admin/trusted-publishers": () => call("GET", "/admin/trusted-publishers"),
    "delete /admin/trusted-publishers/{name}": () => call("DELETE", "/admin/trusted-publishers/release"),
    "post /users/login/dev": () => call("POST", "/users/login/dev", dev),
    "post /users/login/dev/{key}": () => call("POST", `/users/login/dev/${stand.key}`, {}),
    "get /users/current": () => call("GET", "/users/current"),
    "get /users": () => call("GET", "/users"),
    "get /users/count": () => call("GET", "/users/count"),
    "get /groups": () => call("GET", "/groups?limit=50&page=1"),
    "get /groups/count": () => call("GET", "/groups/count"),
    "get /packages": () => call("GET", "/packages?text=walk"),
    "get /public/v1/packages": () => call("GET", "/public/v1/packages?limit=50&page=1"),
    "post /users": () => call("POST", "/users", json, body({ login: "anna" })),
    "patch /users/{login}": () => call("PATCH", "/users/anna", json, body({ friendlyName: "Anna" })),
    "put /users/{login}/block": () => call("PUT", "/users/anna/block"),
    "delete /users/{login}/block": () => call("DELETE", "/users/anna/block"),
    "put /users/{login}/subject": () => call("PUT", "/users/anna/subject", json, body({ subject: "of-anna" })),
    "delete /users/{login}/subject": () => call("DELETE", "/users/anna/subject"),
    "get /users/login/oidc": () => call("GET", "/users/login/oidc", {}),
    "post /users/login/device": () => call("POST", "/users/login/device", {}),
    "post /users/login/device/token": () => call("POST", "/users/login/device/token", json, body({ handle: "of-no-sign-in" })),
    "post /users/{login}/keys": () => call("POST", "/users/anna/keys", json, body({ label: "laptop" })),
    "get /users/{login}/keys": () => call("GET", "/users/anna/keys"),
    "get /admin/users": () => call("GET", "/admin/users?text=anna&limit=10&page=1"),
    "get /admin/users/{login}": () => call("GET", "/admin/users/anna"),
    "get /admin/developer-keys": () => call("GET", "/admin/developer-keys?text=laptop"),
    "get /admin/sessions": () => call("GET", "/admin/sessions?login=admin&limit=10&page=1"),
    "get /admin/groups": () => call("GET", "/admin/groups"),
    "put /admin/groups/{name}/members/{login}": () => call("PUT", "/admin/groups/lab/members/anna"),
    "delete /admin/groups/{name}/members/{login}": () => call("DELETE", "/admin/groups/lab/members/anna"),
    "get /admin/credentials": () => call("GET", "/admin/credentials?set=true"),
    "delete /users/{login}/sessions": () => call("DELETE", "/users/anna/sessions"),
    "delete /users/{login}/sessions/{id}": () => call("DELETE", "/users/anna/sessions/0123456789abcdef"),
    "get /users/current/keys": () => call("GET", "/users/current/keys"),
    "post /users/current/keys": () => call("POST", "/users/current/keys", json, body({ label: "laptop" })),
    "delete /users/current/keys/{id}": async () => {
      const { rows } = JSON.parse((await call("GET", "/users/current/keys?text=laptop")).text) as { rows: { id: string }[] };
      return call("DELETE", `/users/current/keys/${rows[0]?.id}`);
    },
    "get /users/current/sessions": () => call("GET", "/users/current/sessions"),
    "delete /users/current/sessions/{id}": () => call("DELETE", "/users/current/sessions/0123456789abcdef"),
    "delete /users/current/sessions": () => call("DELETE", "/users/current/sessions"),
    "delete /users/{login}/keys/{id}": async () => call("DELETE", `/users/anna/keys/${await keyId()}`),
    "delete /users/{login}": () => call("DELETE", "/users/anna"),
    "get /packages/dev/{name}/timestamps": () => call("GET", "/packages/dev/walk/timestamps", dev),
    "get /packages/dev/{first}/{name}/timestamps": () => call("GET", "/packages/dev/@scope/walk/timestamps", dev),
    "get /packages/dev/{key}/{scope}/{name}/timestamps": () => call("GET", `/packages/dev/${stand.key}/@scope/walk/timestamps`, {}),
    "post /packages/dev/{name}": async () => call("POST", "/packages/dev/other", dev, await zip("other")),
    "post /packages/dev/{first}/{name}": async () => call("POST", "/packages/dev/@scope/other", dev, await zip("@scope/other")),
    "post /packages/dev/{key}/{scope}/{name}": async () => call("POST", `/packages/dev/${stand.key}/@scope/other`, {}, await zip("@scope/other")),
    "get /packages/published/{name}/versions": () => call("GET", "/packages/published/other/versions"),
    "get /packages/published/{scope}/{name}/versions": () => call("GET", "/packages/published/@scope/other/versions"),
    "post /packages/published/{name}/rollback": () => call("POST", "/packages/published/other/rollback", json, body({ to: 1 })),
    "post /packages/published/{scope}/{name}/rollback": () => call("POST", "/packages/published/@scope/other/rollback", json, body({ to: 1 })),
    "delete /packages/published/{name}": () => call("DELETE", "/packages/published/other"),
    "delete /packages/published/{scope}/{name}": () => call("DELETE", "/packages/published/@scope/other?dryRun=true"),
    "post /credentials/for/{name}": () => call("POST", "/credentials/for/walk", json, body({ password: "x" })),
    "patch /credentials/for/{name}": () => call("PATCH", "/credentials/for/walk", json, body({ user: "x" })),
    "get /credentials/for/{name}": () => call("GET", "/credentials/for/walk"),
    "delete /credentials/for/{name}": () => call("DELETE", "/credentials/for/walk"),
    "post /credentials/for/{scope}/{name}": () => call("POST", "/credentials/for/@scope/other", json, body({ password: "x" })),
    "patch /credentials/for/{scope}/{name}": () => call("PATCH", "/credentials/for/@scope/other", json, body({ user: "x" })),
    "get /credentials/for/{scope}/{name}": () => call("GET", "/credentials/for/@scope/other"),
    "delete /credentials/for/{scope}/{name}": () => call("DELETE", "/credentials/for/@scope/other"),
    "post /credentials/rotate": () => call("POST", "/credentials/rotate"),
    "get /docker/images": () => call("GET", "/docker/images"),
    "get /docker/images/count": () => call("GET", "/docker/images/count"),
    "get /docker/images/{name}/latest-compatible": () => call("GET", "/docker/images/walk-app/latest-compatible?version=1.0.0"),
    "get /docker/images/{id}": () => call("GET", `/docker/images/${dockerfile.id}`),
    "get /docker/images/{id}/history": () => call("GET", `/docker/images/${dockerfile.id}/history`),
    "get /docker/images/{id}/revalidate": () => call("GET", `/docker/images/${dockerfile.id}/revalidate`),
    "get /docker/containers": () => call("GET", "/docker/containers"),
    "get /docker/containers/count": () => call("GET", "/docker/containers/count"),
    "get /docker/containers/rows": () => call("GET", "/docker/containers/rows?sort=cpu&limit=10"),
    "get /docker/overview": () => call("GET", "/docker/overview"),
    "get /docker/suggestions": () => call("GET", "/docker/suggestions"),
    "get /docker/containers/{id}/warm-up": () => call("GET", `/docker/containers/${id}/warm-up`),
    "put /docker/containers/{id}/warm-up": () => call("PUT", `/docker/containers/${id}/warm-up`, json, body({ hours: [] })),
    "get /docker/containers/{id}/series": () => call("GET", `/docker/containers/${id}/series`),
    "get /docker/containers/{id}/requests": () => call("GET", `/docker/containers/${id}/requests`),
    "post /docker/containers": () => call("POST", "/docker/containers", json, body({ id, friendlyName: "Walk" })),
    "get /docker/containers/{id}": () => call("GET", `/docker/containers/${id}`),
    "get /docker/containers/{id}/run": () => call("GET", `/docker/containers/${id}/run?awaitStart=true`),
    "post /docker/containers/{id}/restart": () => call("POST", `/docker/containers/${id}/restart?awaitStart=true`),
    "get /docker/containers/{id}/history": () => call("GET", `/docker/containers/${id}/history`),
    "get /docker/containers/{id}/explain": () => call("GET", `/docker/containers/${id}/explain`),
    "get /docker/containers/{id}/exec": () => call("GET", `/docker/containers/${id}/exec`),
    "get /docker/containers/{id}/wakes": () => call("GET", `/docker/containers/${id}/wakes`),
    "get /docker/containers/{id}/container-json": () => call("GET", `/docker/containers/${id}/container-json`),
    "get /docker/containers/{id}/open": () => call("GET", `/docker/containers/${id}/open`),
    "get /docker/events": async () => {
      const left = new AbortController();
      const { status } = await stand.call("/docker/events", { signal: left.signal });
      left.abort();
      return { status, text: "" };
    },
    "post /docker/containers/{id}/lease": () => call("POST", `/docker/containers/${id}/lease`, json, body({ seconds: 60 })),
    "get /docker/containers/{id}/logs": () => call("GET", `/docker/containers/${id}/logs?limit=10`),
    "get /docker/services": () => call("GET", "/docker/services"),
    "get /docker/services/{name}/logs": () => call("GET", `/docker/services/${serviceName}/logs?limit=10`),
    "post /admin/import": () => call("POST", "/admin/import", json, body({ images: [], containers: [] })),
    "get /docker/containers/{id}/stop": () => call("GET", `/docker/containers/${id}/stop?awaitStop=true`),
    "delete /docker/containers/{id}": () => call("DELETE", `/docker/containers/${id}`),
    "post /users/logout": async () => {
      const { token } = JSON.parse((await call("POST", "/users/login/dev", dev)).text) as { token: string };
      return call("POST", "/users/logout", { authorization: token });
    },
  };

  const { paths } = JSON.parse((await call("GET", "/openapi.json", {})).text) as { paths: Record<string, Record<string, object>> };
  const routes: Route[] = Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => ({ method, path })));
  t.same(routes.map(({ method, path }) => `${method} ${path.replace(/^\/api/, "")}`).toSorted(), Object.keys(calls).toSorted());
  for (const [route, run] of Object.entries(calls)) {
    const { status, text } = await run();
    t.equal(status, REFUSED[route] ?? 200, `${route}: ${text.slice(0, 200)}`);
  }
});

t.test("an unknown route gets an error that clients can show", async (t) => {
  const stand = await openStand(t);
  for (const [method, path] of [
    ["GET", "/nonsense"],
    ["PUT", `/docker/containers/${UNKNOWN}`],
    ["HEAD", "/docker/containers"],
  ] as const) {
    const { status, text } = await raw(stand, method, path, { authorization: stand.token });
    t.equal(status, 404, `${method} ${path}`);
    if (method !== "HEAD") t.match(JSON.parse(text), { "#type": "ApiError", code: "ROUTE_NOT_FOUND" });
  }
});
