/** Echo on many WebSockets, one message under way on each. With `connected` the gateway says so first. */
import { connect, type Socket } from "node:net";
import { requestOf } from "./client.ts";
import { clientFrame, frameAt } from "./frames.ts";
import { begin, fail, readPlan, tell } from "./plan.ts";

const { plan, key, target } = readPlan();
const UPGRADE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
const message = clientFrame(Buffer.alloc(plan.bytes, "m"));
/** An echo is the payload behind a header without a mask. */
const echoBytes = message.length - 4;
/** Before it counts, so that connecting and compiling are not in it: V8 optimizes within the first ten thousand messages, in threads that count. */
const WARM_MS = 2_000;

let end: ReturnType<typeof begin> | undefined;
const times: number[] = [];
const sockets = await Promise.all(Array.from({ length: plan.connections }, (_, index) => open(index)));
for (const socket of sockets) play(socket);
if (plan.endless) {
  end = begin(plan);
  process.once("SIGINT", finish);
} else {
  setTimeout(() => {
    end = begin(plan);
    times.length = 0;
    setTimeout(finish, plan.seconds * 1_000);
  }, WARM_MS);
}

function finish(): void {
  tell(end?.(times.length, times) ?? fail("it never began"));
}

function open(index: number): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect({ port: plan.port, host: "127.0.0.1", noDelay: true });
    socket.once("error", (error) => fail(error.message));
    socket.once("close", () => fail("a WebSocket was closed"));
    socket.write(requestOf(target(index), key(index), UPGRADE));
    let came = Buffer.alloc(0);
    socket.on("data", function head(piece: Buffer) {
      came = Buffer.concat([came, piece]);
      const after = came.indexOf("\r\n\r\n") + 4;
      if (after === 3) return;
      if (!came.toString("latin1", 0, after).startsWith("HTTP/1.1 101")) fail(`the upgrade was answered ${came.toString("latin1", 0, 100)}`);
      if (plan.more === "connected") {
        const frame = frameAt(came, after);
        if (frame === undefined) return;
        const payload = came.toString("latin1", frame.payloadAt, frame.end);
        if (frame.opcode !== 1 || payload !== "CONNECTED") fail(`the first frame was ${frame.opcode} ${payload}`);
      }
      socket.off("data", head);
      resolve(socket);
    });
  });
}

function play(socket: Socket): void {
  let held: Buffer | undefined;
  let at = performance.now();
  socket.on("data", (piece: Buffer) => {
    // Whatever is not exactly one echo, in pieces or whole, is wrong.
    const data = held === undefined ? piece : Buffer.concat([held, piece]);
    held = undefined;
    if (data.length < echoBytes) {
      held = data;
      return;
    }
    if (data.length > echoBytes || (data[0] ?? 0) !== 0x82 || data[data.length - 1] !== 0x6d) fail(`an echo of ${data.length} bytes came`);
    const now = performance.now();
    if (end !== undefined) times.push((now - at) * 1_000);
    at = now;
    socket.write(message);
  });
  socket.write(message);
}
