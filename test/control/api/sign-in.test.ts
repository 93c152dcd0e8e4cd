import { statSync } from "node:fs";
import t from "tap";
import { ADMIN_KEY, openStand } from "./fixtures/api-stand.ts";

const UUID = /^[0-9a-f-]{36}$/;

t.test("a developer key buys a session, in the header or in the path", async (t) => {
  const { call } = await openStand(t);
  for (const [path, headers] of [
    ["/users/login/dev", { authorization: `Dev ${ADMIN_KEY}` }],
    [`/users/login/dev/${ADMIN_KEY}`, {}],
  ] as const) {
    const login = await call(path, { method: "POST", headers });
    t.equal(login.status, 200);
    t.equal(login.json.isSuccess, true);
    const current = await call("/users/current", { headers: { authorization: login.json.token } });
    t.match(current.json, { "#type": "User", id: UUID, login: "admin" });
  }
});

t.test("a wrong developer key is an ApiError that does not repeat it", async (t) => {
  const { call, token } = await openStand(t);
  for (const [path, authorization] of [
    ["/users/login/dev", "Dev wrong-key"],
    ["/users/login/dev/wrong-key", undefined],
    ["/users/login/dev", undefined],
    ["/users/login/dev", "Dev"],
    ["/users/login/dev", token],
    ["/users/login/dev", `Dev ${"x".repeat(10_000)}`],
  ] as const) {
    const { status, json, text } = await call(path, { method: "POST", headers: authorization ? { authorization } : {} });
    t.equal(status, 401);
    t.match(json, { "#type": "ApiError", code: "DEV_KEY_INVALID", message: String, innerMessage: String });
    t.notMatch(text, /wrong-key/);
  }
});

t.test("the first valid credential counts, wherever it is", async (t) => {
  const { call, token } = await openStand(t);
  const accepted: Record<string, string>[] = [
    { authorization: token },
    { authorization: `Bearer ${token}` },
    { "x-user-api-key": token },
    { cookie: `other=1; auth=${token}` },
    { cookie: `auth=${Buffer.from(token).toString("hex").replace(/../g, "%$&")}` },
    { "x-user-api-key": "bad", authorization: "Basic xyz", cookie: `auth=${token}` },
    { "x-user-api-key": token, authorization: "bad" },
  ];
  for (const headers of accepted) t.equal((await call("/users/current", { headers })).status, 200, JSON.stringify(Object.keys(headers)));
});

t.test("no credential and a bad one are told apart, and no header of a proxy is one", async (t) => {
  const { call, admin } = await openStand(t);
  const refused: readonly (readonly [headers: Record<string, string>, code: string])[] = [
    [{}, "TOKEN_MISSING"],
    [{ "x-user-id": admin.id, "x-forwarded-user": "admin", "remote-user": "admin" }, "TOKEN_MISSING"],
    [{ cookie: "other=1" }, "TOKEN_MISSING"],
    [{ authorization: "bad" }, "TOKEN_INVALID"],
    [{ authorization: `Dev ${ADMIN_KEY}` }, "TOKEN_INVALID"],
    [{ cookie: "auth=%" }, "TOKEN_INVALID"],
    [{ "x-user-api-key": "x".repeat(10_000) }, "TOKEN_INVALID"],
  ];
  for (const [headers, code] of refused) {
    const { status, json } = await call("/docker/containers?limit=nonsense", { headers });
    t.equal(status, 401);
    t.equal(json.code, code, JSON.stringify(headers).slice(0, 80));
  }
});

t.test("a session that was ended is refused", async (t) => {
  const { call, identity, token } = await openStand(t);
  identity.endSession(token);
  t.equal((await call("/users/current", { headers: { authorization: token } })).status, 401);
});

t.test("only this user can open the socket", async (t) => {
  const { socketPath } = await openStand(t);
  t.equal(statSync(socketPath).mode & 0o777, 0o600);
});
