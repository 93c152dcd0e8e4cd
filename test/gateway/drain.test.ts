import { hash } from "node:crypto";
import { once } from "node:events";
import { Agent, createServer, request, type IncomingMessage } from "node:http";
import t, { type Test } from "tap";
import WebSocket, { WebSocketServer } from "ws";
import { ENGINE_NAMES, type EngineName } from "../../gateway/connections/engine.ts";
import { createReadiness, type GatewayReadiness } from "../../gateway/readiness.ts";
import { bodyOf, exchange, get, ID, openContainer, openStand, PATH, WS_PATH, type GatewayFixture } from "./stand.ts";
import { listen } from "../fixtures/server.ts";
import { eventually } from "../fixtures/eventually.ts";

const CLIENTS = 20;

type Edge = GatewayFixture & { readiness: GatewayReadiness };

async function openEdge(t: Test, forwarder: EngineName, state: "starting" | "ready" = "ready", limits = {}): Promise<Edge> {
  const readiness = createReadiness(state);
  return { ...(await openStand(t, { forwarder, readiness, limits })), readiness };
}

async function statusOf(edge: Edge, path: string): Promise<number> {
  return Number((await exchange(edge.port, get(path))).slice("HTTP/1.1 ".length, "HTTP/1.1 200".length));
}

/**
 * One of several clients that ask one request after another over a connection of their own, at the first edge that counts as ready. `served` counts the
 * responses of each.
 */
async function askOn(
  edges: readonly Edge[],
  isReady: (edge: Edge) => boolean,
  over: () => boolean,
  body: string,
  served: Map<Edge, number>,
): Promise<void> {
  let edge: Edge | undefined;
  let agent: Agent | undefined;
  while (!over()) {
    // As a load balancer does: the connection that there is goes on until it is closed, a new one goes to who is ready.
    if (edge === undefined || agent === undefined) {
      edge = edges.find(isReady);
      if (edge === undefined) throw new Error("no edge is ready");
      agent = new Agent({ keepAlive: true, maxSockets: 1 });
    }
    const { port } = edge;
    const sent = request({ port, host: "127.0.0.1", path: PATH, method: "POST", agent, headers: { authorization: "token" } });
    sent.end(body);
    const [answer] = (await once(sent, "response")) as [IncomingMessage];
    const came = await bodyOf(answer);
    if (answer.statusCode !== 200 || came.toString() !== body) throw new Error(`${answer.statusCode} ${came.toString()}`);
    served.set(edge, (served.get(edge) ?? 0) + 1);
    if (answer.headers.connection === "close") {
      agent.destroy();
      edge = undefined;
    }
  }
  agent?.destroy();
}

for (const forwarder of ENGINE_NAMES) {
  t.test(`${forwarder}: health is answered without a key, by the gateway itself`, async (t) => {
    const edge = await openEdge(t, forwarder, "starting");
    await listen(
      t,
      createServer((_request, response) => response.end("api")),
      { path: edge.apiSocket },
    );
    const ask = (path: string, init?: RequestInit) => fetch(edge.base + path, init);
    t.equal((await ask("/readyz")).status, 503);
    t.equal((await ask("/healthz")).status, 200);
    edge.readiness.setState("ready");
    const ready = await ask("/readyz?verbose");
    t.match(await ready.json(), { status: "ready" });
    t.equal(ready.headers.get("cache-control"), "no-store");
    t.equal((await ask("/readyz", { method: "HEAD" })).status, 200);
    edge.readiness.setState("draining");
    const draining = await ask("/readyz");
    t.equal(draining.status, 503);
    t.equal(draining.headers.get("connection"), "close");
    edge.readiness.setState("ready");
    t.equal((await ask("/readyz")).status, 503, "there is no way back");
    t.equal((await ask("/healthz")).status, 200);
    for (const [path, init] of [["/readyz/x"], ["/api/readyz"], ["/readyz", { method: "POST" }]] as const) {
      t.equal(await (await ask(path, init)).text(), "api", path);
    }
  });

  t.test(`${forwarder}: one of two gateways is drained under load, and no request fails`, async (t) => {
    const [first, second] = [await openEdge(t, forwarder), await openEdge(t, forwarder)];
    const { address } = await openContainer(t, (request, response) => void bodyOf(request).then((body) => response.end(body)));
    for (const edge of [first, second]) edge.set(ID, { kind: "awake", address });
    let enough = false;
    let seenReady = true;
    const served = Array.from({ length: CLIENTS }, () => new Map<Edge, number>());
    const clients = Promise.all(
      served.map((ofClient, at) =>
        askOn(
          [first, second],
          (edge) => edge === second || seenReady,
          () => enough,
          "x".repeat(at * 1_000),
          ofClient,
        ),
      ),
    );
    const servedBy = (edge: Edge) => served.every((ofClient) => (ofClient.get(edge) ?? 0) > 0);
    // A request that fails ends the wait.
    await Promise.race([clients, eventually("the first has served every client", () => servedBy(first))]);
    first.readiness.setState("draining");
    t.equal(await statusOf(first, "/readyz"), 503);
    seenReady = false;
    await first.gateway.drain(10_000);
    await Promise.race([clients, eventually("the second has served every client", () => servedBy(second))]);
    enough = true;
    await clients;
    t.equal(await statusOf(second, "/readyz"), 200);
    await t.rejects(fetch(`${first.base}/readyz`));
  });

  t.test(`${forwarder}: while it only says that it will drain, everything is served`, async (t) => {
    const edge = await openEdge(t, forwarder);
    const { address } = await openContainer(t, (_request, response) => response.end("served"));
    edge.set(ID, { kind: "awake", address });
    edge.readiness.setState("draining");
    t.match(await exchange(edge.port, get(PATH)), /served$/);
  });

  t.test(`${forwarder}: a WebSocket gets the close to connect anew, before the time is up`, async (t) => {
    const edge = await openEdge(t, forwarder);
    const { address, server } = await openContainer(t, () => undefined);
    const sockets = new WebSocketServer({ server });
    sockets.on("connection", (socket) => socket.send("hello"));
    edge.set(ID, { kind: "awake", address });
    const client = new WebSocket(`ws://127.0.0.1:${edge.port}${WS_PATH}`, { headers: { authorization: "token" } });
    const received: string[] = [];
    client.on("message", (data: Buffer) => void received.push(data.toString()));
    await eventually("the container's message arrives", () => received.includes("hello"));
    const closed = once(client, "close") as Promise<[number]>;
    const begun = performance.now();
    await edge.gateway.drain(20_000);
    t.equal((await closed)[0], 1012);
    t.ok(performance.now() - begun < 10_000);
  });

  t.test(`${forwarder}: when the time is up, a container that does not close its WebSocket delays the end no more`, async (t) => {
    const edge = await openEdge(t, forwarder, "ready", { lingeringCloseMs: 600_000 });
    const { address, server } = await openContainer(t, () => undefined);
    server.on("upgrade", ({ headers }, socket) => {
      const accept = hash("sha1", `${headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`, "base64");
      socket.on("error", () => undefined).pause();
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n\x81\x02hi`,
        "latin1",
      );
    });
    edge.set(ID, { kind: "awake", address });
    const clients = [0, 1].map(() => new WebSocket(`ws://127.0.0.1:${edge.port}${WS_PATH}`, { headers: { authorization: "token" } }));
    const [gone] = clients as [WebSocket, WebSocket];
    await Promise.all(clients.map((client) => once(client, "message")));
    // Its container has not closed either when the time is up.
    gone.terminate();
    await edge.gateway.drain(10);
    t.pass();
  });
}
