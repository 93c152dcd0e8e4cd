/** Opens many connections, has one thing answered on each, and leaves them open until it is ended. With `websocket` they are upgraded. */
import { connect } from "node:net";
import { openClient, requestOf } from "./client.ts";
import { fail, readPlan } from "./plan.ts";

const { plan, key, target } = readPlan();
const AT_ONCE = 100;
const UPGRADE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
let next = 0;

const open = plan.more === "websocket" ? upgraded : answered;
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    while (next < plan.connections) await open(next++);
  }),
);
console.log("IDLE");

async function answered(index: number): Promise<void> {
  const client = await openClient(plan.port, 36);
  await new Promise<void>((resolve) => client.ask(requestOf(target(index), key(index)), resolve));
}

function upgraded(index: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(plan.port, "127.0.0.1");
    socket.once("error", (error) => fail(error.message));
    socket.once("close", () => fail("a WebSocket was closed"));
    socket.write(requestOf(target(index), key(index), UPGRADE));
    socket.once("data", (piece: Buffer) => {
      if (!piece.toString("latin1").startsWith("HTTP/1.1 101")) fail(`the upgrade was answered ${piece.toString("latin1").slice(0, 100)}`);
      resolve();
    });
  });
}
