import { createServer, type Socket } from "node:net";
import t, { type Test } from "tap";
import { systemClock } from "../../lib/clock.ts";
import { isPostgresStarting } from "../../lib/connection-probe.ts";
import { PASSWORD_REQUEST, STARTING_UP } from "../fixtures/postgres-messages.ts";
import { freePort, listen } from "../fixtures/server.ts";

const clock = systemClock();
const ask = (address: { host: string; port: number }, signal = new AbortController().signal) => isPostgresStarting(address, { clock, signal });
const answering = (t: Test, answer: (socket: Socket) => void) =>
  listen(
    t,
    createServer((socket) => void socket.on("error", () => {}).once("data", () => answer(socket))),
  );

t.test("only the error of a PostgreSQL that starts up means that it starts up", async (t) => {
  for (const [what, answer, expected] of [
    ["starting up", (socket) => socket.end(STARTING_UP), true],
    ["starting up, in pieces", (socket) => void socket.write(STARTING_UP.subarray(0, 9), () => socket.end(STARTING_UP.subarray(9))), true],
    ["a request for a password", (socket) => socket.write(PASSWORD_REQUEST), false],
    ["another error", (socket) => socket.end(Buffer.from(STARTING_UP.toString("latin1").replace("57P03", "28000"), "latin1")), false],
    ["another protocol", (socket) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"), false],
    ["an endless error", (socket) => socket.write(`E${"x".repeat(10_000)}`), false],
    ["no word", (socket) => socket.end(), false],
  ] as [string, (socket: Socket) => void, boolean][])
    t.equal(await ask(await answering(t, answer)), expected, what);
  t.equal(await ask({ host: "127.0.0.1", port: await freePort() }), false, "nothing listens");
});

t.test("it ends with its signal", async (t) => {
  const silent = await answering(t, () => {});
  const stop = new AbortController();
  const pending = ask(silent, stop.signal);
  stop.abort(new Error("enough"));
  await t.rejects(pending, { message: "enough" });
  await t.rejects(ask(silent, stop.signal), { message: "enough" });
});
