/** The processes of `test/bench/websocket-splice.ts`: `node roles.ts ROLE …`; each has its core to itself or with the other load. */
import { connect, createServer, Socket } from "node:net";
import { systemClock } from "../../../lib/clock.ts";
import { Draining } from "../../../gateway/connections/closing.ts";
import type { NetConnection } from "../../../gateway/connections/connection.ts";
import { createConnectionFactory } from "../../../gateway/connections/open-connections.ts";
import { spliceWebSocket } from "../../../gateway/websockets/splice-websocket.ts";
import { cpuUs } from "../proxy/cost.ts";

const [role = "", ...args] = process.argv.slice(2);
const numbers = args.map(Number);
const HEAD = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

if (role === "proxy") proxy(numbers[0] ?? 0, numbers[1] ?? 0);
else if (role === "echo") echo(numbers[0] ?? 0);
else if (role === "load")
  await load({ port: numbers[0] ?? 0, pid: numbers[1] ?? 0, bytes: numbers[2] ?? 0, connections: numbers[3] ?? 0, seconds: numbers[4] ?? 0 });
else await idle(numbers[0] ?? 0, numbers[1] ?? 0);

/** Heads pass as they are; behind them, `spliceWebSocket` is on its own. */
function proxy(port: number, upstream: number): void {
  const links = createConnectionFactory();
  const clock = systemClock();
  const draining = new Draining();
  createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
    const client = links.adopt(socket);
    let state = 0;
    const dialled = new Socket({ allowHalfOpen: true, noDelay: true }).pause();
    dialled.connect({ port: upstream, host: "127.0.0.1" }, () => {
      const container = links.adopt(dialled, { readToEnd: true });
      passHead(client, container, () => {
        passHead(container, client, () => {
          state = 1;
          const lease = { countBytes: () => void state++ };
          const record = { countBytes: () => undefined };
          void spliceWebSocket({
            client,
            container,
            early: [],
            rest: Buffer.alloc(0),
            lease,
            record,
            draining,
            clock,
            limits: { lingeringCloseMs: 5_000 },
          });
        });
      });
    });
  }).listen(port, "127.0.0.1", 4_096);
}

function passHead(from: NetConnection, to: NetConnection, then: () => void): void {
  const nothing = () => undefined;
  from.user = {
    onBytes: (memory, at, end) => {
      to.send(memory, at, end);
      if (!memory.toString("latin1", at, end).endsWith("\r\n\r\n")) return;
      from.pause();
      then();
    },
    onEnd: nothing,
    onDrain: nothing,
    onClose: nothing,
  };
  from.resume();
}

/** Answers each message with one of the same length; which that is, the first one says. */
function echo(port: number): void {
  createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => {
      socket.write(SWITCHED);
      let answer: Buffer | undefined;
      let whole = 0;
      let came = 0;
      socket.on("data", (piece: Buffer) => {
        if (answer === undefined) {
          const short = (piece[1] ?? 0) & 0x7f;
          const length = short === 126 ? piece.readUInt16BE(2) : short;
          answer = frame(length, 0);
          whole = answer.length + 4;
        }
        came += piece.length;
        for (; came >= whole; came -= whole) socket.write(answer);
      });
    });
  }).listen(port, "127.0.0.1", 4_096);
}

function frame(length: number, masked: number): Buffer {
  const head = length < 126 ? [0x82, masked | length] : [0x82, masked | 126, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), Buffer.alloc(masked === 0 ? 0 : 4), Buffer.alloc(length, "m")]);
}

async function opened(port: number): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true }, () => socket.write(HEAD));
  socket.on("error", (error) => {
    throw error;
  });
  await new Promise((resolve) => void socket.once("data", resolve));
  return socket;
}

/** One message under way on each connection; prints what an echo cost the proxy, in µs, and how many there were a second. */
async function load({ port, pid, bytes, connections, seconds }: Record<"port" | "pid" | "bytes" | "connections" | "seconds", number>): Promise<void> {
  const message = frame(bytes, 0x80);
  const whole = message.length - 4;
  let count = 0;
  for (let n = 0; n < connections; n++) {
    const socket = await opened(port);
    let came = 0;
    socket.on("data", (piece: Buffer) => {
      came += piece.length;
      if (came > whole) throw new Error(`an echo of ${came} bytes came`);
      if (came < whole) return;
      came = 0;
      count++;
      socket.write(message);
    });
    socket.write(message);
  }
  setTimeout(() => {
    const spent = cpuUs(pid);
    const begun = performance.now();
    count = 0;
    setTimeout(() => {
      console.log(`RESULT ${JSON.stringify({ us: (cpuUs(pid) - spent) / count, perSecond: (count / (performance.now() - begun)) * 1_000 })}`);
      process.exit(0);
    }, seconds * 1_000);
  }, 700);
}

/** Opens connections, has one message echoed on each, and keeps them. */
async function idle(port: number, connections: number): Promise<void> {
  const message = frame(125, 0x80);
  for (let n = 0; n < connections; n++) {
    const socket = await opened(port);
    socket.write(message);
    await new Promise((resolve) => void socket.once("data", resolve));
  }
  console.log("IDLE");
}
