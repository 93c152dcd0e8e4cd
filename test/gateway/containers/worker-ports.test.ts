import { createServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import t from "tap";
import { WebSocket } from "ws";
import { ID, openStand, PATH, WS_PATH } from "../stand.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { freePort, listen } from "../../fixtures/server.ts";

const SIGNED_IN = { headers: { authorization: "token" } };
const SAYS = "It is a queue worker; nothing listens on port 8000.";

async function openWorker(t: Parameters<typeof openStand>[0], port: number, proxyRequestTimeoutMs = 700) {
  const stand = await openStand(t, { limits: { proxyRequestTimeoutMs } });
  stand.statuses.set(ID, { text: SAYS });
  stand.set(ID, { kind: "awake", addresses: [{ host: "127.0.0.1", port }], worker: true });
  return stand;
}

t.test("a request for a queue worker that listens nowhere waits until its time limit, and gets the reason", async (t) => {
  const stand = await openWorker(t, await freePort());
  const begun = performance.now();
  const answers = await Promise.all(Array.from({ length: 5 }, () => fetch(stand.base + PATH, SIGNED_IN)));
  t.ok(performance.now() - begun >= 650, "not before its limit");
  for (const answer of answers) {
    t.match([answer.status, answer.statusText], [504, "Container not ready in time"]);
    t.same(await answer.json(), { "datagrok-error": `demo was not ready within 0.7 s. ${SAYS}` });
  }
  t.same(stand.wakes, [], "no address is suspect");
  await eventually("nothing of it is left", () => stand.uses.get(ID)?.open === 0 && stand.watchers(ID) === 0);
});

t.test("a WebSocket for one is closed with the same reason", async (t) => {
  const stand = await openWorker(t, await freePort(), 200);
  const socket = new WebSocket(`ws://127.0.0.1:${stand.port}${WS_PATH}`, { headers: { cookie: "auth=token" } });
  const [code, reason] = await new Promise<[number, string]>((resolve) => void socket.once("close", (code, text) => resolve([code, String(text)])));
  t.strictSame([code, reason], [1011, `demo was not ready within 0.2 s. ${SAYS}`]);
});

t.test("a queue worker that listens is reached, also one that begins to while the request waits", async (t) => {
  const port = await freePort();
  const stand = await openWorker(t, port, 20_000);
  const waiting = fetch(stand.base + PATH, { ...SIGNED_IN, method: "POST", body: "task" }).then((answer) => answer.text());
  await eventually("it waits", () => stand.openAt(ID).open[0]?.state === "held");
  t.equal(stand.uses.get(ID)?.streams, 0, "a stop need not wait for it");
  const server = createServer((request, response) => void request.pipe(response));
  await new Promise<void>((resolve) => void server.listen(port, "127.0.0.1", resolve));
  t.equal(await waiting, "task");
  t.equal(await (await fetch(stand.base + PATH, { ...SIGNED_IN, method: "POST", body: "next" })).text(), "next");

  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  const again = fetch(stand.base + PATH, SIGNED_IN).then((answer) => answer.text());
  await eventually("control looks whether it still runs", () => stand.wakes.length === 1);
  const next = createServer((_, response) => void response.end("again"));
  t.teardown(() => next.close());
  await new Promise<void>((resolve) => void next.listen(port, "127.0.0.1", resolve));
  t.equal(await again, "again");
  next.closeAllConnections();
});

t.test("behind a proxy of ports, which accepts and closes, nothing listens either", async (t) => {
  const proxy = createTcpServer((socket) => socket.on("error", () => undefined).end());
  const { port } = await listen(t, proxy);
  const stand = await openWorker(t, port, 400);
  t.equal((await fetch(stand.base + PATH, SIGNED_IN)).status, 504);
});

t.test("a queue worker that is stopped while a request waits starts again for it", async (t) => {
  const stand = await openWorker(t, await freePort(), 20_000);
  const server = createServer((_, response) => void response.end("moved"));
  const address = await listen(t, server);
  const waiting = fetch(stand.base + PATH, SIGNED_IN).then((answer) => answer.text());
  await eventually("it waits", () => stand.watchers(ID) === 1);
  stand.onWake(() => stand.set(ID, { kind: "awake", addresses: [address], worker: true }));
  stand.set(ID, { kind: "asleep" });
  t.equal(await waiting, "moved");
  t.same(stand.wakes, [ID]);
});
