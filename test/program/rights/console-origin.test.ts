import t from "tap";
import { openConsole } from "../../control/console/fixtures/open-console.ts";
import { ADMIN_KEY } from "../../fixtures/berth.ts";
import { openStand, packageOf } from "./fixtures/stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** A plugin with a page, a worker's script that would answer for all of the origin, and a list of the cookies that it was sent. */
const PLUGIN = `
  import { createServer } from "node:http";
  const cookies = [];
  createServer(({ url, headers }, response) => {
    if (headers.cookie !== undefined) cookies.push(headers.cookie);
    if (url === "/seen") return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(cookies));
    if (url === "/worker.js") {
      response.writeHead(200, { "content-type": "text/javascript", "service-worker-allowed": "/" });
      return response.end('self.addEventListener("fetch", (event) => event.respondWith(new Response("taken over")));');
    }
    response.writeHead(200, { "content-type": "text/html", "set-cookie": "plugin=1", "clear-site-data": '"cookies"' }).end("<!doctype html><h1>a plugin</h1>");
  }).listen(Number(process.env.PORT ?? 8080));
  process.on("SIGTERM", () => process.exit(0));`;

/** What the plugin's page tries, in the browser of an administrator. */
const ATTEMPTS = `async (console) => {
  const status = (path, init) => fetch(path, { credentials: "include", ...init }).then(({ status }) => status, () => "refused");
  const json = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ login: "mallory", admin: true }) };
  const worker = await navigator.serviceWorker.register("worker.js", { scope: "/" }).then(() => "registered", (error) => error.name);
  // Blind ones, of which the page cannot read the answer.
  await fetch(console + "/api/users", { ...json, headers: { "content-type": "text/plain" }, mode: "no-cors", credentials: "include" }).catch(() => {});
  await fetch(console + "/console/hand-over", { method: "POST", mode: "no-cors", credentials: "include" }).catch(() => {});
  return {
    worker,
    cookie: document.cookie,
    who: await fetch("/api/users/current").then((answer) => answer.json()).then(({ login }) => login),
    users: await status("/api/users"),
    add: await status("/api/users", json),
    key: await status("/api/users/admin/keys", { ...json, body: "{}" }),
    audit: await status("/api/admin/audit"),
    consoleReads: await status(console + "/api/users/current"),
    consoleAdds: await status(console + "/api/users", json),
    page: await status("/console/rooms"),
  };
}`;

t.test("a plugin's page can neither take over the console, nor read or use its cookie, nor act as an administrator", async (t) => {
  const stand = await openStand(t);
  const { berth, send } = stand;
  const mallory = await stand.addPerson("mallory-author");
  await stand.publish("evil", { ...packageOf("evil", ["page"]), "dockerfiles/page/server.mjs": PLUGIN }, { authorization: `Dev ${mallory.key}` });
  const id = await stand.ready("evil-page");
  const { page, signIn } = await openConsole(t, berth.base);
  const origin = new URL(page.url()).origin;
  t.not(origin, berth.base, "the edge has sent the browser to the console");
  await signIn(ADMIN_KEY);
  await page.getByRole("link", { name: "evil-page", exact: true }).click();
  const opening = page.context().waitForEvent("page");
  await page.getByRole("button", { name: "Open" }).click();
  const plugin = await opening;
  await plugin.getByRole("heading", { name: "a plugin" }).waitFor();
  t.equal(plugin.url(), `${berth.base}/api/docker/containers/proxy/${id}/`);

  const got = await plugin.evaluate(`(${ATTEMPTS})(${JSON.stringify(origin)})`);
  t.match(got, {
    cookie: "plugin=1",
    who: "admin",
    users: 403,
    add: 403,
    key: 403,
    audit: 403,
    consoleReads: "refused",
    consoleAdds: "refused",
    page: 404,
  });
  t.notOk(
    (await send<{ login: string }[]>("GET", "/users")).some(({ login }) => login === "mallory"),
    "nor blindly",
  );
  await eventually("no service worker to be left", async () => {
    const left = await plugin.evaluate("navigator.serviceWorker.getRegistrations().then((all) => all.length)");
    return left === 0 ? true : undefined;
  });
  await plugin.reload();
  await plugin.getByRole("heading", { name: "a plugin" }).waitFor();

  const received = String(await plugin.evaluate("fetch('seen').then((answer) => answer.text())"));
  t.match(received, /auth=/);
  t.notMatch(received, /berth-console/, "the container was never sent the console's cookie");
  const cookies = await page.context().cookies();
  for (const { name, value } of cookies.filter(({ name }) => name !== "plugin")) t.notOk(received.includes(value), `nor the session in ${name}`);
  t.match(
    cookies.find(({ name }) => name === "berth-console"),
    { httpOnly: true, sameSite: "Strict" },
  );

  for (const at of [origin, berth.base]) {
    const answer = await plugin.goto(`${at}/api/docker/containers/${id}/stop`);
    t.equal(answer?.status(), 403, "a link outside of any page stops nothing");
    t.match(await answer?.request().allHeaders(), { "sec-fetch-site": "none", cookie: at === origin ? /berth-console=/ : /auth=/ });
  }
  await plugin.goto(`${berth.base}/api/docker/containers/proxy/${id}/`);

  const consoles = cookies.find(({ name }) => name === "berth-console")?.value ?? "";
  for (const headers of [{ authorization: consoles }, { cookie: `auth=${consoles}` }, { cookie: `berth-console=${consoles}` }])
    t.equal((await fetch(`${berth.api}/users/current`, { headers })).status, 401, "the console's session is not valid at the edge");
  const statusWith = (headers: Record<string, string>) => fetch(`${origin}/api/users/current`, { headers }).then(({ status }) => status);
  t.equal(await statusWith({ cookie: `berth-console=${consoles}`, "sec-fetch-site": "same-origin" }), 200);
  for (const headers of [{}, { "sec-fetch-site": "same-site" }, { referer: `${berth.base}/x` }, { origin: "null" }])
    t.equal(await statusWith({ cookie: `berth-console=${consoles}`, ...headers }), 403, JSON.stringify(headers));
  const [auth] = cookies.filter(({ name }) => name === "auth");
  t.equal(await statusWith({ cookie: `auth=${auth?.value}`, "sec-fetch-site": "same-origin" }), 401, "the edge's cookie is not valid at the console");
  t.equal(
    await statusWith({ cookie: `berth-console=${consoles}; berth-console=${consoles}x`, "sec-fetch-site": "same-origin" }),
    401,
    "of two cookies, one is another port's",
  );

  await page.bringToFront();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Developer key").waitFor();
  await eventually("what was handed over to end with the console's session", async () => {
    const now = await plugin.evaluate("fetch('seen').then(({ status }) => status)");
    return now === 401 ? true : undefined;
  });
});

t.test("a session is handed over once, within a minute, to the console's own page and for a container's page alone", async (t) => {
  const stand = await openStand(t);
  const { berth } = stand;
  const redirect = await fetch(`${berth.base}/`, { redirect: "manual" });
  const origin = new URL(redirect.headers.get("location") ?? "").origin;
  const signedIn = await fetch(`${origin}/console/sign-in`, { method: "POST", headers: { authorization: `Dev ${ADMIN_KEY}`, origin } });
  const [cookie = ""] = (signedIn.headers.get("set-cookie") ?? "").split(";");
  const to = "/api/docker/containers/proxy/1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11/";
  const newCode = async () => {
    const answer = await fetch(`${origin}/console/hand-over`, { method: "POST", headers: { cookie, origin } });
    return (await answer.json()) as { code: string; action: string };
  };
  const { code, action } = await newCode();
  t.equal(action, `${berth.base}/api/users/login/hand-over`);
  const hand = async (fields: Record<string, string>, from: string | undefined = origin) => {
    const answer = await fetch(action, { method: "POST", redirect: "manual", headers: { origin: from }, body: new URLSearchParams(fields) });
    return { status: answer.status, to: answer.headers.get("location"), cookie: answer.headers.get("set-cookie") ?? "" };
  };
  for (const from of ["http://evil.example", berth.base, "null"]) t.match(await hand({ code, to }, from), { status: 403, cookie: "" }, from);
  for (const elsewhere of ["https://evil.example/", "//evil.example/", "/api/users", `${to}x`])
    t.match(await hand({ code, to: elsewhere }), { status: 400, cookie: "" });
  const handed = await hand({ code, to });
  t.match(handed, { status: 303, to, cookie: /^auth=\S+; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Lax$/ });
  t.match(await hand({ code, to }), { status: 401, cookie: "" }, "once");
  const authorization = /^auth=([^;]+)/.exec(handed.cookie)?.[1] ?? "";
  t.equal((await fetch(`${berth.api}/users/current`, { headers: { authorization } })).status, 200);
  t.equal((await fetch(`${berth.api}/users`, { headers: { authorization } })).status, 403, "without administration");
  t.equal((await fetch(`${berth.api.replace("/api", "")}/console/hand-over`, { method: "POST", headers: { authorization } })).status, 404);
});

t.test("under a host name of its own, the console is at the edge's port, and no container is", async (t) => {
  const stand = await openStand(t, { BERTH_CONSOLE_HOST: "console.example", BERTH_WEB_ROOT: "http://berth.example" });
  const { berth } = stand;
  const { port } = new URL(berth.base);
  const { request } = await import("node:http");
  const ask = (host: string, path: string, headers: Record<string, string> = {}) =>
    new Promise<{ status: number; location: string | undefined }>((resolve, reject) => {
      const sent = request({ host: "127.0.0.1", port, path, headers: { host, ...headers } }, (answer) => {
        answer.resume();
        resolve({ status: answer.statusCode ?? 0, location: answer.headers.location });
      });
      sent.once("error", reject).end();
    });
  t.same(await ask("berth.example", "/"), { status: 302, location: "http://console.example/" });
  t.match(await ask("console.example", "/"), { status: 200 });
  t.match(await ask(`Console.Example:${port}`, "/console/rooms"), { status: 200 });
  t.match(await ask("berth.example", "/console/rooms", { "x-berth-console": "1" }), { status: 404 }, "only a gateway may set that header");
  const authorization = berth.token;
  const proxied = "/api/docker/containers/proxy/1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11/";
  t.match(await ask("berth.example", proxied, { authorization }), { status: 404 });
  await stand.publish("app", packageOf("app", ["square"]), { authorization: `Dev ${berth.key}` });
  const id = await stand.ready("app-square");
  const path = `/api/docker/containers/proxy/${id}/square?number=4`;
  t.match(await ask("berth.example", path, { authorization }), { status: 200 });
  t.match(await ask("console.example", path, { authorization }), { status: 404 }, "no container is reached there");
});
