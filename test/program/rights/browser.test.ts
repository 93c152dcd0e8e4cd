import t from "tap";
import { ADMIN_KEY } from "../../fixtures/berth.ts";
import { openSite, visit } from "./fixtures/chromium.ts";
import { openStand, packageOf } from "./fixtures/stand.ts";

/** What a page tries with the cookie that its browser holds for berth: another port is another origin, but not another host. */
const ATTEMPTS = (api: string, id: string, report: string) => `
  const url = ${JSON.stringify(`${api}/docker/containers`)};
  const proxied = url + "/proxy/${id}/square?number=4";
  const ask = (path, init) => fetch(path, { credentials: "include", ...init }).then(async (answer) => [answer.status, await answer.text()], () => "refused");
  const status = async (path, init) => { const reply = await ask(path, init); return reply === "refused" ? reply : reply[0]; };
  const talk = (path) => new Promise((resolve) => {
    const socket = new WebSocket(path.replace("http", "ws"));
    const received = [];
    socket.onopen = () => socket.send("hello");
    socket.onmessage = ({ data }) => { received.push(data); if (data === "hello") { resolve(received); socket.close(); } };
    socket.onclose = ({ code }) => resolve(code);
  });
  const result = {
    list: await status(url),
    run: await status(url + "/${id}/run?awaitStart=true"),
    json: await status(proxied, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" }),
    form: await status(proxied, { method: "POST", body: new URLSearchParams({ a: "1" }) }),
    webSocket: await talk(url + "/proxy-ws/${id}/ws"),
    transparent: await talk(url + "/proxy/${id}/ws"),
    stop: await status(url + "/${id}/stop?awaitStop=true"),
  };
  // Blind attempts, which need not read the answer.
  await fetch(url + "/${id}/run", { mode: "no-cors", credentials: "include", referrerPolicy: "no-referrer" }).catch(() => {});
  await new Promise((resolve) => { const image = new Image(); image.onload = image.onerror = resolve; image.referrerPolicy = "no-referrer"; image.src = url + "/${id}/run"; });
  await fetch(${JSON.stringify(report)}, { method: "POST", mode: "no-cors", body: JSON.stringify(result) });
`;

/** Resolves once the browser has the cookie; after an assignment to `document.cookie`, the next request may still go without it. */
const SIGN_IN = (token: string) => `await cookieStore.set("auth", encodeURIComponent(${JSON.stringify(token)}));`;

t.test("in a browser, a foreign page with the user's cookie can neither start, stop, change nor open anything; a permitted one can", async (t) => {
  const [friend, evil] = [await openSite(t), await openSite(t)];
  const stand = await openStand(t, { BERTH_ORIGINS: friend.origin });
  const { berth } = stand;
  const plain = { "dockerfiles/square/container.json": JSON.stringify({ on_demand: false, memory: 128 }) };
  await stand.publish("app", { ...packageOf("app", ["square"]), ...plain }, { authorization: `Dev ${ADMIN_KEY}` });
  const id = await stand.ready("app-square");
  const signIn = SIGN_IN(berth.token);
  for (const site of [friend, evil]) site.put("/", signIn + ATTEMPTS(berth.api, id, `${site.origin}/report`));

  t.same(
    await visit(`${evil.origin}/`, evil.reported()),
    { list: "refused", run: "refused", json: "refused", form: "refused", webSocket: 1008, transparent: 1006, stop: "refused" },
    "what a foreign page gets",
  );
  t.equal((await berth.container("app-square")).status, "stopped by user", "and nothing was started behind its back");

  t.same(
    await visit(`${friend.origin}/`, friend.reported()),
    { list: 200, run: 200, json: 200, form: 200, webSocket: ["CONNECTED", "hello"], transparent: ["hello"], stop: 200 },
    "what a permitted page gets",
  );
});

t.test("in a browser, a page that a container serves at the edge is berth's own", async (t) => {
  const site = await openSite(t);
  const stand = await openStand(t);
  const { berth } = stand;
  await stand.publish("app", packageOf("app", ["square"]), { authorization: `Dev ${ADMIN_KEY}` });
  const id = await stand.ready("app-square");
  const script = ATTEMPTS(berth.api, id, `${site.origin}/report`);
  const server = `
    import { createServer } from "node:http";
    createServer((_, response) => response.writeHead(200, { "content-type": "text/html" }).end(${JSON.stringify(`<!doctype html><script type="module">${script}</script>`)}))
      .listen(Number(process.env.PORT ?? 8080));
    process.on("SIGTERM", () => process.exit(0));`;
  const files = packageOf("pages", ["page"]);
  await stand.publish("pages", { ...files, "dockerfiles/page/server.mjs": server }, { authorization: `Dev ${ADMIN_KEY}` });
  const page = await stand.ready("pages-page");
  const signIn = SIGN_IN(berth.token);
  site.put("/", `${signIn} location.href = ${JSON.stringify(`${berth.api}/docker/containers/proxy/${page}/`)};`);
  t.same(await visit(`${site.origin}/`, site.reported()), {
    list: 200,
    run: 200,
    json: 200,
    form: 200,
    webSocket: ["CONNECTED", "hello"],
    transparent: ["hello"],
    stop: 200,
  });
});
