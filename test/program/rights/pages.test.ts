import t from "tap";
import WebSocket from "ws";
import { ADMIN_KEY } from "../../fixtures/berth.ts";
import { openStand, packageOf, talk } from "./fixtures/stand.ts";

const FRIEND = "https://friend.example";
const EVIL = "https://evil.example";

t.test("pages of other origins, seen from the edge", async (t) => {
  const stand = await openStand(t, { BERTH_ORIGINS: FRIEND });
  const { berth } = stand;
  await stand.publish("app", packageOf("app", ["square"]), { authorization: `Dev ${ADMIN_KEY}` });
  const id = await stand.ready("app-square");
  const proxy = `/docker/containers/proxy/${id}/square?number=4`;
  const cookie = `auth=${encodeURIComponent(berth.token)}`;
  const ask = async (path: string, headers: Record<string, string>, method = "GET") => {
    const answer = await fetch(`${berth.api}${path}`, { method, headers });
    return { status: answer.status, headers: answer.headers, text: await answer.text() };
  };

  await t.test("with a cookie, only the own and the permitted ones change anything", async (t) => {
    const rows: [what: string, headers: Record<string, string>, allowed: boolean][] = [
      ["the own", { "sec-fetch-site": "same-origin" }, true],
      ["the own, without Sec-Fetch-Site", { referer: `${berth.base}/page` }, true],
      ["a permitted one", { origin: FRIEND, "sec-fetch-site": "cross-site" }, true],
      ["another", { origin: EVIL, "sec-fetch-site": "cross-site" }, false],
      ["one that hides itself", {}, false],
      ["none: a link in a mail", { "sec-fetch-site": "none" }, false],
    ];
    for (const [what, headers, allowed] of rows) {
      const status = async (path: string, method?: string) => (await ask(path, { cookie, ...headers }, method)).status;
      t.equal(await status(`/docker/containers/${id}/run`), allowed ? 200 : 403, `run: ${what}`);
      t.equal(await status(`/docker/containers/${id}/stop`), allowed ? 200 : 403, `stop: ${what}`);
      t.equal(await status(`/users/unknown`, "DELETE"), allowed ? 404 : 403, `remove: ${what}`);
    }
    t.equal((await ask(proxy, { cookie, origin: EVIL }, "POST")).status, 403, "a POST to a container from another page");
    t.equal((await ask(proxy, { cookie, origin: FRIEND }, "POST")).status, 200);
    t.equal(
      (await ask(`/docker/containers/${id}/stop`, { authorization: berth.token, origin: EVIL })).status,
      200,
      "a token in a header is no cookie",
    );
  });

  await t.test("and open WebSockets", async (t) => {
    for (const [origin, expected, transparent] of [
      [FRIEND, 101, 101],
      [berth.base, 101, 101],
      [EVIL, 1008, 403],
    ] as const) {
      t.equal(await talk(berth, `/docker/containers/proxy-ws/${id}/ws`, { cookie, origin }), expected, origin);
      const upgraded = await upgrade(berth.base, `/api/docker/containers/proxy/${id}/ws`, { cookie, origin });
      t.equal(upgraded, transparent, `transparent: ${origin}`);
    }
  });

  await t.test("preflights of permitted pages need no credential, those of others are as any request", async (t) => {
    const preflight = (path: string, origin: string, more = {}) =>
      ask(path, { origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type", ...more }, "OPTIONS");
    for (const path of [proxy, "/docker/containers", "/users/login/dev", `/docker/containers/${id}/run`]) {
      const { status, headers } = await preflight(path, FRIEND);
      t.equal(status, 204, path);
      t.equal(headers.get("access-control-allow-origin"), FRIEND);
      t.equal(headers.get("access-control-allow-credentials"), "true");
      t.equal(headers.get("access-control-allow-methods"), "POST");
      t.equal(headers.get("access-control-allow-headers"), "content-type");
      const foreign = await preflight(path, EVIL);
      t.ok(foreign.status >= 400, `${path}: ${foreign.status}`);
      t.equal(foreign.headers.get("access-control-allow-origin"), null);
    }
    t.equal((await preflight(proxy, EVIL)).status, 401);
    t.equal((await preflight(proxy, EVIL, { cookie })).text, `{"result":16}`, "with a credential the container answers");
  });

  await t.test("permitted pages can read answers, refusals too", async (t) => {
    for (const [path, headers, status] of [
      ["/docker/containers", { cookie }, 200],
      ["/docker/containers", {}, 401],
      [`/docker/containers/${id.replace(/^./, (digit) => (digit === "0" ? "1" : "0"))}`, { cookie }, 404],
      [proxy, { cookie }, 200],
      [proxy, {}, 401],
    ] as const) {
      const read = await ask(path, { ...headers, origin: FRIEND });
      t.equal(read.status, status, path);
      t.equal(read.headers.get("access-control-allow-origin"), FRIEND);
      const other = await ask(path, { ...headers, origin: EVIL });
      t.equal(other.headers.get("access-control-allow-origin"), null);
      t.equal((await ask(path, headers)).headers.get("access-control-allow-origin"), null);
    }
  });
});

function upgrade(base: string, path: string, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${base.replace("http", "ws")}${path}`, { headers });
    socket.on("open", () => {
      resolve(101);
      socket.close();
    });
    socket.on("unexpected-response", (_, answer) => {
      resolve(answer.statusCode ?? 0);
      answer.destroy();
    });
    socket.on("error", () => undefined);
  });
}
