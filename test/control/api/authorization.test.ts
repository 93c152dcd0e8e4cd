import { statSync } from "node:fs";
import t from "tap";
import { createStillClock } from "../../fixtures/clock.ts";
import { CONSOLE_HEADER } from "../../../gateway/contract.ts";
import { ADMIN_KEY, openApiFixture } from "./fixtures/open-api-fixture.ts";
import { callSocket } from "./fixtures/call-socket.ts";

const UUID = /^[0-9a-f-]{36}$/;

t.test("a developer key buys a session, in the header or in the path", async (t) => {
  const { call } = await openApiFixture(t);
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
  const { call, token } = await openApiFixture(t);
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

t.test("a path that is no route is answered without the key that stands in it", async (t) => {
  const { call } = await openApiFixture(t);
  for (const path of ["/users/login/DEV/sesame", "/users/login%2fdev/sesame", "/users/login/dev;/sesame", "/packages/dev/x/y/z/sesame"]) {
    const { status, json, text } = await call(path, { method: "POST" });
    t.match([status, json], [404, { code: "ROUTE_NOT_FOUND" }], path);
    t.notMatch(text, /sesame/, path);
  }
});

t.test("the first valid credential counts, wherever it is", async (t) => {
  const { call, token } = await openApiFixture(t);
  const accepted: Record<string, string>[] = [
    { authorization: token },
    { authorization: `Bearer ${token}` },
    { "x-user-api-key": token },
    { cookie: `other=1; auth=${token}` },
    { cookie: `auth=${Buffer.from(token).toString("hex").replace(/../g, "%$&")}` },
    { "x-user-api-key": "bad", authorization: "Basic xyz", cookie: `auth=${token}` },
    { "x-user-api-key": token, authorization: "bad" },
    { authorization: `Dev ${ADMIN_KEY}` },
  ];
  for (const headers of accepted) t.equal((await call("/users/current", { headers })).status, 200, JSON.stringify(Object.keys(headers)));
});

t.test("a missing and a bad credential get different errors, and a proxy's header is no credential", async (t) => {
  const { call, admin } = await openApiFixture(t);
  const refused: readonly (readonly [headers: Record<string, string>, code: string])[] = [
    [{}, "TOKEN_MISSING"],
    [{ "x-user-id": admin.id, "x-forwarded-user": "admin", "remote-user": "admin" }, "TOKEN_MISSING"],
    [{ cookie: "other=1" }, "TOKEN_MISSING"],
    [{ authorization: "bad" }, "TOKEN_INVALID"],
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
  const { call, identity, token } = await openApiFixture(t);
  await identity.endSession(token);
  t.equal((await call("/users/current", { headers: { authorization: token } })).status, 401);
});

t.test("only this user can open the socket", async (t) => {
  const { socketPath } = await openApiFixture(t);
  t.equal(statSync(socketPath).mode & 0o777, 0o600);
});

t.test("a client that guesses keys has to wait, even when one is right, and cannot pass for another client", async (t) => {
  const { call } = await openApiFixture(t);
  const guess = (key: string, from: string) =>
    call("/users/login/dev", { method: "POST", headers: { authorization: `Dev ${key}`, "x-berth-client": from } });
  for (let tried = 0; tried < 10; tried++) t.equal((await guess("wrong", "9.9.9.9")).status, 401);
  const limited = await guess(ADMIN_KEY, "9.9.9.9");
  t.equal(limited.status, 429);
  t.match(limited.json, { "#type": "ApiError", code: "TOO_MANY_ATTEMPTS" });
  t.equal(limited.headers["retry-after"], "5");
  const publishing = { method: "POST", headers: { authorization: "Dev wrong", "x-berth-client": "9.9.9.9" }, body: "" };
  t.equal((await call("/packages/dev/app", publishing)).status, 429, "wherever a key is shown");
  t.equal((await call("/users", { headers: { authorization: `Dev ${ADMIN_KEY}`, "x-berth-client": "9.9.9.9" } })).status, 429);
  t.equal((await guess(ADMIN_KEY, "9.9.9.8")).status, 200);
});

t.test("guesses from many addresses keep no user out: a right key from a fresh address is taken, by docker login too", async (t) => {
  const { call, addUser } = await openApiFixture(t, {}, createStillClock());
  const { key } = await addUser("bob");
  const from = (peer: string) => ({ "x-berth-client": peer });
  const signIn = (shown: string, peer: string) =>
    call("/users/login/dev", { method: "POST", headers: { authorization: `Dev ${shown}`, ...from(peer) } });
  const login = (shown: string, peer: string) =>
    call("/docker/token?service=r", { headers: { authorization: `Basic ${Buffer.from(`any:${shown}`).toString("base64")}`, ...from(peer) } });
  const statuses: number[] = [];
  for (let tried = 0; tried < 600; tried++) statuses.push((await signIn("wrong", `9.9.9.${tried % 60}`)).status);
  t.equal(statuses.filter((status) => status === 401).length, 500, "all together are slowed down");
  t.equal(statuses.at(-1), 429);
  t.equal((await signIn(key, "7.7.7.7")).status, 200);
  t.equal((await login(key, "2001:db8::1")).status, 200);
  t.equal((await login("wrong", "2001:db8::2")).status, 401);
  t.equal((await signIn(key, "9.9.9.1")).status, 429, "an address that has guessed waits");
});

t.test("guesses from one /64 are those of one client", async (t) => {
  const { call } = await openApiFixture(t);
  const guess = (shown: string, peer: string) =>
    call("/users/login/dev", { method: "POST", headers: { authorization: `Dev ${shown}`, "x-berth-client": peer } });
  for (let tried = 0; tried < 10; tried++) t.equal((await guess("wrong", `2001:db8:1:2::${tried}`)).status, 401);
  t.equal((await guess(ADMIN_KEY, "2001:db8:1:2:ffff::1")).status, 429);
  t.equal((await guess(ADMIN_KEY, "2001:db8:1:3::1")).status, 200);
});

t.test("signing out ends the session that was shown, and needs the own page where a cookie shows it", async (t) => {
  const { call, identity, admin } = await openApiFixture(t);
  const logout = (headers: Record<string, string>) => call("/users/logout", { method: "POST", headers });
  const [one, other] = [await identity.openSession(admin.id), await identity.openSession(admin.id)];
  t.equal((await logout({ cookie: `auth=${one}`, origin: "https://evil.example" })).status, 403);
  t.equal((await logout({ cookie: `auth=${one}`, origin: "http://berth.example:8080" })).status, 200);
  t.same(await Promise.all([one, other].map(async (token) => (await identity.who(token))?.login)), [undefined, "admin"]);
  t.equal((await logout({ authorization: one })).status, 401);
});

t.test("the console's cookie is for https alone where the browser used it, by the gateway's header or by the public address", async (t) => {
  const { socketPath } = await openApiFixture(t, { console: { url: "https://berth.example", name: undefined, port: 8081, edgePort: 8080 } });
  const attributes = async (host: string, headers: Record<string, string> = {}) => {
    const signIn = { method: "POST", headers: { host, [CONSOLE_HEADER]: "1", authorization: `Dev ${ADMIN_KEY}`, ...headers } };
    const [cookie = ""] = (await callSocket(socketPath, "/console/sign-in", signIn)).headers["set-cookie"] ?? [];
    return cookie.split("; ").slice(1);
  };
  const insecure = ["Path=/", "Max-Age=86400", "HttpOnly", "SameSite=Strict"];
  t.same(await attributes("10.0.0.1:8080"), insecure);
  t.same(await attributes("10.0.0.1:8080", { "x-forwarded-proto": "https" }), [...insecure, "Secure"]);
  t.same(await attributes("berth.example"), [...insecure, "Secure"]);
  const foreign = await callSocket(socketPath, "/console/sign-in", {
    method: "POST",
    headers: { [CONSOLE_HEADER]: "1", authorization: `Dev ${ADMIN_KEY}`, origin: "https://evil.example" },
  });
  t.equal(foreign.status, 403, "another page cannot sign in");
  const atTheEdge = await callSocket(socketPath, "/console/sign-in", { method: "POST", headers: { authorization: `Dev ${ADMIN_KEY}` } });
  t.equal(atTheEdge.status, 404, "and not at the edge");
});
