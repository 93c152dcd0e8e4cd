import { once } from "node:events";
import t from "tap";
import { WebSocket } from "ws";

import { openStand, packageOf } from "./fixtures/stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** A container that echoes what it was given. */
const TELLS = `
  import { createServer } from "node:http";
  createServer(({ headers }, response) => response.end(JSON.stringify({ headers, own: process.env.USER_API_KEY })))
    .listen(Number(process.env.PORT ?? 8080));
  process.on("SIGTERM", () => process.exit(0));`;

type EchoedRequest = { headers: Record<string, string>; own: string };

t.test("what a container is given names its caller without administration, and ends within 10 s of a revocation", async (t) => {
  const stand = await openStand(t, { BERTH_WORKERS: "2" });
  const { berth, send } = stand;
  const boss = await stand.addPerson("boss", { admin: true });
  const administration = await stand.signIn(boss.key, { administration: true });
  await stand.publish("tells", { ...packageOf("tells", ["tell"]), "dockerfiles/tell/server.mjs": TELLS }, { authorization: `Dev ${berth.key}` });
  await stand.publish("app", packageOf("app", ["square"]), { authorization: `Dev ${boss.key}` });
  const [id, square] = [await stand.ready("tells-tell"), await stand.ready("app-square")];
  const proxied = `${berth.api}/docker/containers/proxy/${id}/`;
  const ask = async (headers: Record<string, string>) => (await (await fetch(proxied, { headers })).json()) as EchoedRequest;

  const { headers, own } = await ask({ authorization: administration, cookie: `auth=${administration}` });
  const given = headers["x-user-api-key"] ?? "";
  t.notMatch(JSON.stringify([headers, own]), administration, "the session's own token is nowhere");
  t.notMatch(JSON.stringify([headers, own]), boss.token);
  t.match(headers, { authorization: given, cookie: `auth=${given}` });
  t.equal((await ask({ authorization: given })).headers["x-user-api-key"], given, "at the gateway it is its holder's");

  const call = async (token: string, method: string, path: string, body?: object) => {
    const json = body === undefined ? {} : { body: JSON.stringify(body), headers: { authorization: token, "content-type": "application/json" } };
    const answer = await fetch(`${berth.api}${path}`, { method, headers: { authorization: token }, ...json });
    return { status: answer.status, json: (await answer.json()) as Record<string, unknown> };
  };
  for (const token of [given, own]) {
    t.match(await call(token, "GET", "/users/current"), { status: 200, json: { login: "boss" } });
    t.match(await call(token, "POST", "/users", { login: "mallory", admin: true }), { status: 403 });
    t.match(await call(token, "POST", "/users/admin/keys", {}), { status: 403 });
    t.match(await call(token, "GET", "/admin/audit"), { status: 403 });
    t.match(await call(token, "GET", `/docker/containers/${id}/logs`), { status: 403 }, "another author's container");
    t.match(await call(token, "GET", `/docker/containers/${square}/run`), { status: 200 }, "what is the user's own stays so");
  }

  const sockets = await Promise.all(
    ["proxy-ws", "proxy"].flatMap((route) =>
      [boss.token, given].map(async (token) => {
        const socket = new WebSocket(`${berth.api.replace("http", "ws")}/docker/containers/${route}/${square}/ws`, {
          headers: { authorization: token },
        });
        const closed = once(socket, "close");
        await once(socket, "open");
        return { closed };
      }),
    ),
  );
  const [key] = await send<{ id: string }[]>("GET", "/users/boss/keys");
  await send("DELETE", `/users/boss/keys/${key?.id}`);
  const since = performance.now();
  for (const token of [given, own, administration]) t.match(await call(token, "GET", "/users/current"), { status: 401 });
  for (const { closed } of sockets) t.equal((await closed)[0], 1008, "open WebSockets are closed");
  for (const token of [given, own])
    await eventually("gateways to refuse it", async () => {
      const statuses = await Promise.all(Array.from({ length: 4 }, async () => (await fetch(proxied, { headers: { authorization: token } })).status));
      return statuses.every((status) => status === 401) ? true : undefined;
    });
  const took = Math.round(performance.now() - since);
  t.ok(took < 10_000, `it took ${took} ms`);
  t.comment(`all ended after ${took} ms`);
});
