import { connect, type Socket } from "node:net";
import t from "tap";
import { pause } from "../fixtures/clock.ts";
import { eventually } from "../fixtures/eventually.ts";
import { ID, openRawContainer, openStand, PATH } from "./stand.ts";

/** Clients that end their direction and await the response: both engines serve them. What else such clients do: `half-closed-clients.test.ts`. */

type HalfOpenClient = { socket: Socket; received(): string; ending(): string };

/** `ends`: right behind the request. */
function openHalfOpen(port: number, { version = "1.1", path = "", ends = true } = {}): HalfOpenClient {
  const request = `GET ${PATH}/${path} HTTP/${version}\r\nHost: x\r\nAuthorization: token\r\n\r\n`;
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true }, () => (ends ? socket.end(request) : socket.write(request)));
  let received = "";
  let ending = "";
  socket.setEncoding("latin1").on("data", (text: string) => void (received += text));
  socket.once("end", () => void (ending ||= "end"));
  socket.on("error", (error: NodeJS.ErrnoException) => void (ending ||= error.code ?? "error"));
  return { socket, received: () => received, ending: () => ending };
}

t.test("a client that has ended its direction gets the whole response, however long it pauses", async (t) => {
  const stand = await openStand(t);
  const framings = {
    "with a length": { head: "Content-Length: 9", part: "part,", rest: "rest" },
    "in chunks": { head: "Transfer-Encoding: chunked", part: "5\r\npart,\r\n", rest: "4\r\nrest\r\n0\r\n\r\n" },
    "until its end": { head: "Connection: close", part: "part,", rest: "rest" },
  };
  const address = await openRawContainer(t, (socket) => {
    socket.once("data", (bytes: Buffer) => {
      const name = decodeURIComponent(/^GET \/(\S+)/.exec(bytes.toString())?.[1] ?? "") as keyof typeof framings;
      const { head, part, rest } = framings[name];
      socket.write(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n${part}`);
      // Longer than the quick probes take.
      setTimeout(() => socket.end(rest), 350);
    });
  });
  stand.set(ID, { kind: "awake", address });
  const clients = Object.keys(framings).flatMap((name) =>
    ["1.1", "1.0"].map((version) => ({
      what: `${name}, HTTP/${version}`,
      client: openHalfOpen(stand.port, { version, path: encodeURIComponent(name) }),
    })),
  );
  t.teardown(() => clients.forEach(({ client }) => client.socket.destroy()));
  for (const { what, client } of clients) {
    await eventually("its end", () => client.ending() !== "");
    t.equal(client.ending(), "end", what);
    t.match(client.received(), /part,[^]*rest/, what);
  }
});

t.test("a client that has ended its direction is probed once between two chunks, by a zero in front of a size", async (t) => {
  const stand = await openStand(t, { forwarder: "splice" });
  let container: Socket | undefined;
  const address = await openRawContainer(t, (socket) => {
    container = socket;
    socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\npart,\r\n"));
  });
  stand.set(ID, { kind: "awake", address });
  const client = openHalfOpen(stand.port, { ends: false });
  t.teardown(() => client.socket.destroy());
  await eventually("the first chunk", () => client.received().endsWith("part,\r\n"));
  client.socket.end();
  await eventually("the probe", () => client.received().endsWith("\r\n\r\n5\r\npart,\r\n0"));
  container?.write("4\r\nmore\r\n");
  await eventually("more", () => client.received().endsWith("04\r\nmore\r\n"));
  // Now its system would have answered: nothing else is inserted, also not within a chunk.
  container?.write("4\r\nla");
  await pause(300);
  container?.write("st\r\n0\r\n\r\n");
  await eventually("the last chunk", () => client.received().endsWith("04\r\nmore\r\n4\r\nlast\r\n0\r\n\r\n"));
  await eventually("the end", () => client.ending() === "end");
});

t.test("a client that has ended its direction, and then leaves, ends the container's side of a silent response", async (t) => {
  const stand = await openStand(t);
  const responses = {
    "no response": "",
    "one with a length": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart",
    "one in chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
    "one until its end": "HTTP/1.1 200 OK\r\n\r\npart",
  };
  for (const [name, response] of Object.entries(responses)) {
    for (const version of ["1.1", "1.0"]) {
      let state = "";
      const address = await openRawContainer(t, (socket) => {
        socket.once("data", () => {
          state = "arrived";
          socket.write(response);
        });
        socket.once("close", () => (state = "ended"));
      });
      stand.set(ID, { kind: "awake", address });
      const client = openHalfOpen(stand.port, { version });
      await eventually(
        "the request, and what comes of the response",
        () => state === "arrived" && (response === "" || client.received().includes("part")),
      );
      await eventually("its own end", () => client.socket.writableFinished);
      // As its system does for a keep-alive probe, when nothing there knows the connection any more.
      client.socket.resetAndDestroy();
      await eventually(`${name}, HTTP/${version}: the container's connection ends`, () => state === "ended");
    }
  }
  await eventually("all are counted out", () => stand.uses.get(ID)?.open === 0);
  t.pass("each of them");
});

t.test("a client that has gone within a silent chunked response is noticed without a reset", async (t) => {
  const stand = await openStand(t);
  let state = "";
  const address = await openRawContainer(t, (socket) => {
    socket.once("data", () => {
      state = "arrived";
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n");
    });
    socket.once("close", () => (state = "ended"));
  });
  stand.set(ID, { kind: "awake", address });
  const client = openHalfOpen(stand.port, { ends: false });
  await eventually("the first chunk", () => client.received().includes("part"));
  client.socket.destroy();
  await eventually("the container's connection ends", () => state === "ended", 5_000);
  t.pass("it is gone");
});
