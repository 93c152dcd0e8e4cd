import { once } from "node:events";
import { homedir } from "node:os";
import t from "tap";
import WebSocket from "ws";
import { decodeMessage, encodeMessage, openDataChannel } from "../../../drivers/ecs/data-channel.ts";
import { systemClock } from "../../../lib/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { rejectsWith } from "../conformance.ts";
import { decode, encode, openExecSessions, splitCommand } from "./exec-sessions.ts";

const PLACE = { env: { PATH: process.env["PATH"] ?? "" }, cwd: homedir(), hasShell: true, ended: new Promise<never>(() => {}) };
const options = { clock: systemClock(), doing: "Running a command in x", isRunning: async () => true };

t.test("a message is what AWS's own agent and client read, and is read as they write it", async (t) => {
  const payload = Buffer.from("ls\u00e9");
  const bytes = encodeMessage({ type: "input_stream_data", created: Date.now(), sequence: 7, flags: 1, payloadType: 1, payload });
  t.match(decode(bytes), { type: "input_stream_data", sequence: 7, payloadType: 1, payload, id: /^[0-9a-f]{8}-[0-9a-f]{4}-4/ });
  const [theirs, other] = [encode({ type: "acknowledge", sequence: 0, flags: 3, payloadType: 0, payload }), decodeMessage(bytes)];
  t.match(decodeMessage(theirs), { type: "acknowledge", sequence: 0, payload, id: /^[0-9a-f]{8}-[0-9a-f]{4}-4/ });
  t.equal(other?.id, (decode(bytes) as { id: string }).id);
  t.equal(decodeMessage(encode({ type: "start_publication", sequence: 0, payloadType: 0, payload: Buffer.alloc(0) }))?.payload.length, 0);
});

t.test("what is no message, or was changed, is none", async (t) => {
  const bytes = encode({ type: "output_stream_data", sequence: 1, payloadType: 1, payload: Buffer.from("hello") });
  t.equal(decodeMessage(bytes.subarray(0, 119)), undefined);
  t.equal(decodeMessage(bytes.subarray(0, -1)), undefined);
  t.equal(decodeMessage(Buffer.concat([bytes, Buffer.of(0)])), undefined);
  for (const at of [80, 115, 119, 122]) {
    const other = Buffer.from(bytes);
    other[at] = (other[at] ?? 0) ^ 1;
    t.equal(decodeMessage(other) === undefined, at !== 115, `byte ${at}`);
  }
  const far = Buffer.from(bytes);
  far.writeUInt32BE(0xffffffff, 0);
  t.equal(decodeMessage(far), undefined);
});

t.test("the double of the service takes one client, with the token of the session, and only messages that are whole", async (t) => {
  const sessions = await openExecSessions(t);
  const { streamUrl, tokenValue } = sessions.start("cat", PLACE);
  const enter = async (first: string) => {
    const socket = new WebSocket(streamUrl);
    await once(socket, "open");
    socket.send(first);
    return socket;
  };
  const request = { MessageSchemaVersion: "1.0", RequestId: "0123456789abcdef", TokenValue: tokenValue, ClientId: "c", ClientVersion: "1.2.0.0" };
  const { ClientId: _, ...partial } = request;
  for (const wrong of ["", "{}", JSON.stringify({ ...request, TokenValue: "other" }), JSON.stringify(partial)]) {
    const socket = await enter(wrong);
    t.strictSame((await once(socket, "close"))[0], 1008, "refused");
  }
  const socket = await enter(JSON.stringify(request));
  const received: string[] = [];
  socket.on("message", (data: Buffer) => {
    const message = decodeMessage(data);
    if (message?.type === "output_stream_data") received.push(message.payload.toString());
  });
  const second = encodeMessage({ type: "input_stream_data", created: Date.now(), sequence: 1, payloadType: 1, payload: Buffer.from("second\n") });
  const first = encodeMessage({ type: "input_stream_data", created: Date.now(), sequence: 0, payloadType: 1, payload: Buffer.from("first\n") });
  const changed = Buffer.from(first);
  changed[changed.length - 2] = 65;
  for (const bytes of [Buffer.from("x"), changed, second]) socket.send(bytes);
  await eventually("the changed one is rejected", () => sessions.rejected.length === 2);
  t.strictSame(sessions.rejected, ["shorter than a header", "payload Hash is not valid"]);
  t.strictSame(received, [], "a gap is waited for");
  socket.send(first);
  await eventually("both, in order", () => received.join("").includes("first\r\nsecond\r\n"));
  const again = received.length;
  await eventually("what is not acknowledged is sent again", () => received.length > again + 1);
  t.equal(received.at(-1), received[0]);
  socket.terminate();
});

t.test("without a way to the service, or without an address, its fault has neither the address nor the token", async (t) => {
  const { signal } = new AbortController();
  for (const streamUrl of ["ws://127.0.0.1:1/v1/data-channel/s?role=publish_subscribe", "no-address", undefined]) {
    const opening = openDataChannel({ streamUrl, tokenValue: "secret-token" }, { ...options, signal });
    const fault = await rejectsWith(t, "ENGINE_UNREACHABLE", opening);
    t.notMatch(fault.message, /secret-token|data-channel|no-address/);
  }
});

t.test("the double splits commands as the agent does", async (t) => {
  t.strictSame(splitCommand(`'/bin/sh' -c 'a  b'\\''c' "d \\" e" f#g # comment\n h`), ["/bin/sh", "-c", "a  b'c", 'd " e', "f#g", "h"]);
  t.strictSame(splitCommand("'' x"), ["", "x"]);
});
