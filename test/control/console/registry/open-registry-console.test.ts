import { createServer } from "node:net";
import { join } from "node:path";
import t from "tap";
import { Agent, request } from "undici";
import { ADMIN_KEY } from "../../../fixtures/berth.ts";
import { makeCertificate } from "../../../fixtures/certificates.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";
import { openDistribution } from "../../../gateway/registry/distribution.ts";
import { MANIFEST, registryClient } from "../../../gateway/registry/registry-client.ts";
import { run } from "../../../gateway/registry/run.ts";
import { plainUpstream } from "../../../gateway/registry/stand.ts";
import { push as pushPast } from "../../../gateway/registry/upstream/pushed.ts";
import { openConsole } from "../fixtures/open-console.ts";
import { codeOf, cookieOf, openAlone, openUsers } from "../fixtures/registry-alone.ts";
import { listen } from "../../../fixtures/server.ts";

const PROGRAM = join(import.meta.dirname, "../../../../berth.ts");
/** Knows the users for all of these tests; the last one ends it. */
const server = await openUsers(t);
const IMAGES = "/api/docker/registry/images?repository=datagrok/app";

t.test("where there is a registry and no control plane, its console shows that alone; an administrator deletes after a question", async (t) => {
  const alone = await openAlone(t, server);
  const bert = await alone.person("bert");
  const digest = await alone.push("datagrok/app", "1.0.0", "a layer");
  await alone.push("datagrok/app", "2.0.0", "another layer", bert);
  await alone.push("other", "latest", "a third layer");
  const { page, signIn, picture, troubles } = await openConsole(t, alone.console);

  await signIn("wrong");
  await page.getByRole("alert").waitFor();
  await picture("registry-alone-sign-in");
  await signIn(ADMIN_KEY);
  await page.getByRole("heading", { name: "Registry" }).waitFor();
  t.same(await page.getByRole("navigation", { name: "Sections" }).getByRole("link").allTextContents(), ["Registry"]);
  t.equal(await page.evaluate("document.cookie"), "", "no script reads the session");
  await page.getByRole("link", { name: "other", exact: true }).waitFor();
  await picture("registry-alone-list");
  await page.getByRole("link", { name: "datagrok/app" }).click();
  const first = page.getByRole("row").filter({ has: page.getByRole("cell", { name: "1.0.0", exact: true }) });
  t.match(await first.textContent(), /ago by admin|now by admin/);
  await page
    .getByRole("row")
    .filter({ hasText: /2\.0\.0.*by bert/ })
    .waitFor();
  await first.getByText("1 layer").click();
  await picture("registry-alone-repository");

  await first.getByRole("button", { name: "Delete" }).click();
  await picture("registry-alone-delete");
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  const there = () => alone.status("/v2/datagrok/app/manifests/1.0.0", { headers: { accept: MANIFEST } });
  t.equal(await there(), 200, "nothing is deleted without a yes");
  await first.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await first.waitFor({ state: "detached" });
  t.equal(await there(), 404);
  t.match(alone.output(), new RegExp(`"reference":"${digest}","by":"admin","deleted":true`));

  const [kept] = await page.context().cookies();
  t.match(kept, { httpOnly: true, sameSite: "Strict", secure: false });
  t.not(kept?.name, "auth", "that of a Datagrok server on the same host stays its own");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Developer key").waitFor();
  t.equal((await alone.ask("/api/users/current", `${kept?.name}=${kept?.value}`)).status, 401);

  // Who may not delete is offered no button.
  await signIn(bert);
  await page.getByRole("cell", { name: "2.0.0", exact: true }).waitFor();
  t.equal(await page.getByRole("button", { name: "Delete" }).count(), 0);
  t.same(troubles, []);
});

t.test("before another registry, the proxy's console knows the pushes that it saw, and says of others that it did not", async (t) => {
  const registry = await openDistribution(t);
  await pushPast(plainUpstream(registry.port), "datagrok/app", "past");
  const alone = await openAlone(t, server, { role: "registry-proxy", REGISTRY_URL: `http://${registry.host}` });
  const digest = await registryClient(t, alone.base).push("datagrok/app", "through", "a layer");
  const session = cookieOf(await alone.signIn(ADMIN_KEY));
  const images = async () => (await (await alone.ask(IMAGES, session)).json()) as { tag: string; pushedOn: string | null; pushedBy: string | null }[];
  t.match(await images(), [
    { tag: "through", pushedBy: "admin", pushedOn: /^\d{4}-.*Z$/ },
    { tag: "past", pushedBy: null, pushedOn: null },
  ]);
  t.equal((await alone.ask(`${IMAGES}&digest=${digest}`, session, { method: "DELETE" })).status, 200);
  t.match(await images(), [{ tag: "past" }]);
});

t.test("with a certificate, keys come and cookies go by TLS alone", async (t) => {
  const folder = tempFolder(t);
  const { cert } = makeCertificate(folder, "registry");
  const tls = { BERTH_TLS_CERT: join(folder, "registry.made.crt"), BERTH_TLS_KEY: join(folder, "registry.made.key") };
  const alone = await openAlone(t, server, { role: "registry-proxy", REGISTRY_URL: "127.0.0.1:1", ...tls });
  t.match(alone.console, /^https:/);
  const dispatcher = new Agent({ connect: { ca: cert } });
  t.teardown(() => dispatcher.destroy());
  const headers = { authorization: `Dev ${ADMIN_KEY}` };
  const answer = await request(`${alone.console}/console/sign-in`, { method: "POST", headers, dispatcher });
  t.equal(answer.statusCode, 200);
  t.match(answer.headers["set-cookie"], /; HttpOnly; SameSite=Strict; Secure$/);
  await answer.body.dump();
  await t.rejects(fetch(`${alone.console.replace("https", "http")}/`));
});

t.test("a port that is taken, as by another berth, is one sentence that names it", async (t) => {
  const other = createServer();
  const { port } = await listen(t, other);
  const folder = tempFolder(t);
  const env = {
    BERTH_DATA: folder,
    XDG_RUNTIME_DIR: folder,
    DATAGROK_URL: "http://127.0.0.1:1/api",
    REGISTRY_URL: "127.0.0.1:1",
    BERTH_REGISTRY_PORT: "0",
  };
  const ended = await run(process.execPath, [PROGRAM, "registry-proxy"], { env: { ...env, BERTH_REGISTRY_CONSOLE_PORT: String(port) } });
  t.not(ended.code, 0);
  t.equal(ended.output.trim().split("\n").length, 1, ended.output);
  t.match(ended.output, new RegExp(`${port}.*BERTH_REGISTRY_CONSOLE_PORT`));
});

t.test("the Datagrok server decides the rights: wrong keys, foreign pages, users who are not or no longer administrators", async (t) => {
  const alone = await openAlone(t, server, { BERTH_TRUSTED_PROXIES: "loopback" });
  const [carl, anna] = [await alone.person("carl"), await alone.person("anna", { admin: true })];
  const digest = await alone.push("datagrok/app", "1.0.0", "a layer");
  const deletes = { method: "DELETE" };
  const one = `${IMAGES}&digest=${digest}`;

  const session = cookieOf(await alone.signIn(carl));
  t.match(await (await alone.ask(IMAGES, session)).json(), [{ tag: "1.0.0", digest, pushedBy: "admin", usedBy: { length: 0 } }]);
  t.same(await codeOf(await alone.ask(one, session, deletes)), [403, "NOT_PERMITTED"]);
  t.same(await codeOf(await alone.ask(IMAGES, "")), [401, "TOKEN_MISSING"]);
  t.same(await codeOf(await alone.ask(IMAGES, `${session}x`)), [401, "TOKEN_INVALID"]);
  t.same(await codeOf(await alone.ask("/api/docker/registry/images?repository=datagrok/../../../etc", session)), [400, "REQUEST_INVALID"]);
  t.same(await codeOf(await alone.ask("/api/docker/containers", session)), [404, "ROUTE_NOT_FOUND"]);

  const annas = await alone.signIn(anna, { "x-forwarded-proto": "https" });
  t.match(annas.headers.get("set-cookie"), /; HttpOnly; SameSite=Strict; Secure$/);
  for (const origin of ["https://elsewhere.example", "null"])
    t.same(await codeOf(await alone.ask(one, cookieOf(annas), { ...deletes, headers: { origin } })), [403, "ORIGIN_NOT_PERMITTED"], origin);
  t.same(await codeOf(await alone.signIn(anna, { origin: "https://elsewhere.example" })), [403, "ORIGIN_NOT_PERMITTED"]);
  const json = { "content-type": "application/json" };
  t.ok((await server.call("/users/anna", { method: "PATCH", headers: json, body: JSON.stringify({ admin: false }) })).ok);
  t.same(await codeOf(await alone.ask(one, cookieOf(annas), deletes)), [403, "NOT_PERMITTED"], "although the session began as an administrator's");
  t.ok((await server.call("/users/anna", { method: "DELETE" })).ok);
  t.same(await codeOf(await alone.ask(one, cookieOf(annas), deletes)), [401, "TOKEN_INVALID"]);
  t.equal(await alone.status("/v2/datagrok/app/manifests/1.0.0", { headers: { accept: MANIFEST } }), 200);

  const guess = async (from: string) => (await codeOf(await alone.signIn("no-such-key", { "x-forwarded-for": from })))[1];
  for (let tries = 0; tries < 10; tries++) t.equal(await guess("203.0.113.1"), "DEV_KEY_INVALID");
  await server.stop();
  t.equal(await guess("203.0.113.1"), "TOO_MANY_ATTEMPTS", "no request reaches the server");
  t.equal(await guess("203.0.113.2"), "DATAGROK_AWAY");
  t.equal((await alone.ask(IMAGES, session)).status, 200, "who is signed in goes on looking while that server is away");
});
