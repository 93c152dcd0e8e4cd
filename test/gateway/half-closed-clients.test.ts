import type { ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import t from "tap";
import { ID, openContainer, openRawContainer, openStand, PATH } from "./stand.ts";
import { eventually } from "../fixtures/eventually.ts";

/** Clients that end their direction within a request or a WebSocket. The engine of http-proxy differs: Node's server ends with them. */

t.test("a client that ends within a pipelined request is gone after the response before it", async (t) => {
  const stand = await openStand(t);
  const responses: ServerResponse[] = [];
  const { address } = await openContainer(t, (_request, response) => void responses.push(response));
  stand.set(ID, { kind: "awake", address });
  const first = `GET ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\n\r\n`;
  const ways = {
    "a body with a length": "POST PATH HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\nContent-Length: 100\r\n\r\npart",
    "a chunked body": "POST PATH HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
    "a head": "GET PATH HTTP/1.1\r\nHost",
  };
  for (const [name, part] of Object.entries(ways)) {
    responses.length = 0;
    let received = "";
    const client = connect({ port: stand.port, host: "127.0.0.1", allowHalfOpen: true }, () => client.end(first + part.replace("PATH", PATH)));
    t.teardown(() => client.destroy());
    client.on("data", (chunk: Buffer) => (received += chunk.toString("latin1"))).on("error", () => undefined);
    let ended = false;
    client.once("end", () => (ended = true)).once("close", () => (ended = true));
    // Since it has ended its direction, it is probed for whether it is still there.
    await eventually(`${name}: the end has come`, () => responses.length > 0 && received.includes("100 Continue"));
    responses[0]?.end("first");
    await eventually(`${name}: the connection ends`, () => ended);
    t.equal(received.split("HTTP/1.1 200").length, 2, name);
  }
  await eventually("all are counted out", () => stand.uses.get(ID)?.open === 0);
});

t.test("a client that ends within its body never takes a part of a response without a length for the whole", async (t) => {
  const stand = await openStand(t);
  const address = await openRawContainer(t, (socket) => socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart")));
  stand.set(ID, { kind: "awake", address });
  const sent = `POST ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\nContent-Length: 10\r\n\r\n01`;
  const client = connect({ port: stand.port, host: "127.0.0.1", allowHalfOpen: true }, () => client.write(sent));
  let received = "";
  client.setEncoding("latin1").on("data", (text: string) => {
    received += text;
    if (received.endsWith("part")) client.end();
  });
  const ending = await new Promise<string>((resolve) => {
    client.once("end", () => resolve("end"));
    client.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
  });
  t.equal(ending, "ECONNRESET");
});

t.test("a client that ends behind the request of a WebSocket gets the whole of another response that has begun", async (t) => {
  const stand = await openStand(t);
  let container: Socket | undefined;
  const address = await openRawContainer(t, (socket) => {
    container = socket;
    socket.on("data", () => socket.write("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\npart"));
  });
  stand.set(ID, { kind: "awake", address });
  const lines = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
  const head = [`GET ${PATH} HTTP/1.1`, "Host: x", "Authorization: token", ...lines, "", ""].join("\r\n");
  const client = connect({ port: stand.port, host: "127.0.0.1", allowHalfOpen: true }, () => client.write(head));
  let received = "";
  client.setEncoding("latin1").on("data", (text: string) => void (received += text));
  const ending = new Promise<string>((resolve) => {
    client.once("end", () => resolve("end"));
    client.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
  });
  await eventually("a part of the response", () => received.endsWith("part"));
  client.end();
  await eventually("the gateway to have read the end", () => container?.readyState === "open" && client.writableFinished);
  container?.end(",rest");
  t.equal(await ending, "end");
  t.match(received, /part,rest$/);
});
