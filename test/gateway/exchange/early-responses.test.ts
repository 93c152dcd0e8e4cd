import { connect, type Socket } from "node:net";
import t, { type Test } from "tap";
import { eventually } from "../../fixtures/eventually.ts";
import { ID, openRawContainer, openStand, PATH } from "../stand.ts";

/** Responses that a container sends before it has the whole request. */
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HEAD = `POST ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\nTransfer-Encoding: chunked\r\n\r\n`;

async function openEarly(t: Test, then: (socket: Socket) => void, idleTimeoutMs = 0): Promise<number> {
  const stand = await openStand(t, { limits: { idleTimeoutMs } });
  const address = await openRawContainer(t, (socket) =>
    socket.once("data", () => {
      socket.write(OK);
      then(socket);
    }),
  );
  stand.set(ID, { kind: "awake", address });
  return stand.port;
}

/** Sends the head and a chunk, awaits the response, and then sends the rest. Resolves to all that came, and to how the connection ended. */
async function sendLate(port: number, rest: string): Promise<{ came: string; error: string | undefined }> {
  let came = "";
  let error: string | undefined;
  let closed = false;
  const socket = connect(port, "127.0.0.1", () => socket.write(`${HEAD}2\r\nab\r\n`));
  socket.on("data", (chunk) => (came += chunk.toString("latin1")));
  socket.on("error", (problem: NodeJS.ErrnoException) => (error = problem.code));
  socket.on("close", () => (closed = true));
  await eventually("the response came", () => came.endsWith("\r\n\r\nok"));
  if (rest !== "") socket.write(rest);
  await eventually("the connection is closed", () => closed);
  return { came, error };
}

for (const [name, then] of [
  ["closes", (socket: Socket) => void socket.end()],
  ["still reads", () => undefined],
] as const) {
  t.test(`a body that turns out not to be HTTP gets no second response, if the container ${name}`, async (t) => {
    const { came, error } = await sendLate(await openEarly(t, then), "not a chunk\r\n");
    t.equal(came.split("HTTP/1.1 ").length, 2, came);
    t.equal(error, undefined, "and the first one is not cut");
  });
}

t.test("a body that stalls after its response does not cut the response", async (t) => {
  const { came, error } = await sendLate(await openEarly(t, () => undefined, 200), "");
  t.equal(came.split("HTTP/1.1 ").length, 2);
  t.equal(error, undefined);
});
