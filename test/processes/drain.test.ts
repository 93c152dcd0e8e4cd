import { once } from "node:events";
import { Agent, request, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import t, { type Test } from "tap";
import { WebSocket } from "ws";
import { type Berth, startBerth } from "../fixtures/berth.ts";
import { testSockets } from "../fixtures/connections.ts";
import { scrape, total } from "../fixtures/metrics-page.ts";
import { isAlive, rolesBelow } from "../fixtures/processes.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually } from "../fixtures/eventually.ts";

/** How the processes of one berth end, over real sockets; containers are child processes, so that no engine is needed. */
const SERVER = `
  import { createHash } from "node:crypto";
  import { createServer } from "node:http";
  process.on("SIGTERM", () => process.exit(0));
  createServer((request, response) => {
    request.resume().once("end", () => setTimeout(() => response.end("served"), Number(request.url.slice(1))));
  }).on("upgrade", ({ headers }, socket) => {
    const accept = createHash("sha1").update(headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
    socket.write("HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: " + accept + "\\r\\n\\r\\n");
    socket.on("error", () => undefined).on("end", () => socket.end()).resume();
  }).listen(Number(process.env.PORT ?? 8080));
`;
const FILES = {
  "package.json": JSON.stringify({ name: "drained", version: "1.0.0" }),
  "dockerfiles/app/Dockerfile": 'FROM node:26-alpine\nWORKDIR /app\nCOPY server.mjs .\nEXPOSE 8080\nCMD ["node", "server.mjs"]\n',
  "dockerfiles/app/container.json": JSON.stringify({ on_demand: true }),
  "dockerfiles/app/server.mjs": SERVER,
};
const CLIENTS = 8;

async function openServed(t: Test, env: Record<string, string>): Promise<{ berth: Berth; app: string }> {
  const berth = await startBerth({ data: tempFolder(t), env: { BERTH_DRIVER: "process", ...env } });
  t.teardown(() => berth.stop());
  const answer = await berth.publish("drained", FILES);
  if (answer.status !== 200) throw new Error(await answer.text());
  const { id } = await eventually("the image to be ready", async () => {
    const entity = await berth.container("drained-app");
    return entity.dockerfile.status === "ready" ? entity : undefined;
  });
  const app = `/api/docker/containers/proxy/${id}`;
  if ((await fetch(berth.base + app, { headers: { authorization: berth.token } })).status !== 200) throw new Error("the container does not answer");
  return { berth, app };
}

type Answered = { status: number | undefined; body: string; closing: boolean };

async function ask(berth: Berth, path: string, agent: Agent): Promise<Answered> {
  const { hostname, port } = new URL(berth.base);
  const sent = request({ hostname, port, path, method: "POST", agent, headers: { authorization: berth.token } });
  sent.end("body");
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  let body = "";
  for await (const piece of answer) body += String(piece);
  return { status: answer.statusCode, body, closing: answer.headers.connection === "close" };
}

/** Whether a new connection is taken, refused, or neither. */
function knock(berth: Berth): Promise<string> {
  const { hostname, port } = new URL(berth.base);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname, () => {
      socket.destroy();
      resolve("taken");
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "failed"));
  });
}

t.test("after a stop signal berth turns red first, then takes no new client, and answers the present ones", async (t) => {
  const { berth, app } = await openServed(t, { BERTH_WORKERS: "2", BERTH_DRAIN_DELAY_SECONDS: "2", BERTH_METRICS_PORT: "0" });
  const isOnKind = async () => total(await scrape(berth), "berth_sockets_info", { kind: testSockets() }) > 0;
  await eventually("the gateways to work on the kind of sockets that this run is of", isOnKind);
  const ready = async () => (await fetch(`${berth.base}/readyz`)).status;
  t.equal(await ready(), 200);

  let red = false;
  let served = 0;
  // One request after the other, anew where the connection was closed, unless no process accepts any more.
  const clients = Array.from({ length: CLIENTS }, async () => {
    for (;;) {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      for (;;) {
        const { status, body, closing } = await ask(berth, `${app}/1`, agent);
        if (status !== 200 || body !== "served") throw new Error(`${status} ${body}`);
        served++;
        if (closing) break;
      }
      agent.destroy();
      if (red) return;
    }
  });
  const slowAgent = new Agent();
  await eventually("some requests", async () => served > 100);
  const slow = ask(berth, `${app}/3500`, slowAgent);
  process.kill(berth.pid, "SIGTERM");
  // Both workers do, whichever of them gets the request.
  await eventually("every worker to be red", async () => {
    const replies = await Promise.all(Array.from({ length: 8 }, () => fetch(`${berth.base}/readyz`, { headers: { connection: "close" } })));
    return replies.every(({ status }) => status === 503) ? true : undefined;
  });
  red = true;
  t.equal((await fetch(`${berth.base}/healthz`)).status, 200);
  t.equal((await fetch(`${berth.base}${app}`, { headers: { authorization: berth.token } })).status, 200, "who comes nevertheless is served");
  await Promise.all(clients);
  t.equal(await eventually("newcomers to be refused", async () => (await knock(berth)) === "ECONNREFUSED"), true);
  t.match(await slow, { status: 200, body: "served" }, "what was under way is finished");
  await eventually("it to end", async () => (isAlive(berth.pid) ? undefined : true));
});

for (const second of ["SIGTERM", "SIGINT"] as const) {
  t.test(`a second signal, ${second}, ends it at once`, async (t) => {
    const { berth, app } = await openServed(t, { BERTH_DRAIN_SECONDS: "60" });
    const slow = ask(berth, `${app}/20000`, new Agent());
    slow.catch(() => undefined);
    process.kill(berth.pid, "SIGTERM");
    await eventually("the gateway to take no new client", async () => (await knock(berth)) === "ECONNREFUSED");
    process.kill(berth.pid, second);
    await eventually("it to end", async () => (isAlive(berth.pid) ? undefined : true));
    await t.rejects(slow);
  });
}

t.test("a service manager that tells every process at once ends it as well as one that tells the first", async (t) => {
  const { berth, app } = await openServed(t, { BERTH_WORKERS: "2", BERTH_DRAIN_DELAY_SECONDS: "1" });
  const slow = ask(berth, `${app}/2000`, new Agent());
  const children = Object.values(rolesBelow(berth.pid)).flat();
  t.equal(children.length, 3);
  for (const pid of [...children, berth.pid]) process.kill(pid, "SIGTERM");
  await eventually("it to be red", async () => (await fetch(`${berth.base}/readyz`)).status === 503);
  t.equal((await berth.call("/docker/containers")).status, 200, "control outlasts those who ask it");
  t.match(await slow, { status: 200, body: "served" });
  await eventually("it to end", async () => (isAlive(berth.pid) ? undefined : true));
  t.notOk(children.some(isAlive));
});

t.test("WebSockets get the close for a restart, once berth takes no new client", async (t) => {
  const { berth, app } = await openServed(t, {});
  const sockets: Promise<[number]>[] = [];
  for (const path of [app, app.replace("/proxy/", "/proxy-ws/")]) {
    const client = new WebSocket(berth.base.replace("http", "ws") + path, { headers: { authorization: berth.token } });
    t.teardown(() => client.terminate());
    // CONNECTED may come with the upgrade itself, and before a waiter for that goes on.
    await Promise.all([once(client, "open"), ...(path === app ? [] : [once(client, "message")])]);
    sockets.push(once(client, "close") as Promise<[number]>);
  }
  process.kill(berth.pid, "SIGTERM");
  t.strictSame(
    (await Promise.all(sockets)).map(([code]) => code),
    [1012, 1012],
  );
});
