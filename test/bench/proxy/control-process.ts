/**
 * What a gateway asks, in place of the control plane: `node control-process.ts FOLDER`. It says over `gateway/contract.ts` that every container is
 * awake and who holds which key, so that the gateway under test runs with its own feed and caches as it does behind a whole berth.
 */
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import { FEED_BEAT_MS, type FeedLine, type CallerReply, type CallersReply, type CallersRequest } from "../../../gateway/contract.ts";
import { portOf, type BenchWorld } from "./world.ts";

const [folder = ""] = process.argv.slice(2);
const world = JSON.parse(readFileSync(join(folder, "world.json"), "utf8")) as BenchWorld;
const holders = new Map(
  world.keys.map((key, index): [string, CallerReply] => [key, { userId: world.ids[index] ?? "", login: `user${index}`, admin: false }]),
);
const containers = world.ids.map((id, index) => {
  return { id, name: `container${index}`, standing: { kind: "awake" as const, addresses: [{ host: "127.0.0.1", port: portOf(world, index) }] } };
});

createServer((request, response) => {
  if (request.url === "/feed") {
    const say = (line: FeedLine) => response.write(`${JSON.stringify(line)}\n`);
    say({ kind: "hello", gateway: "bench" });
    say({ kind: "all", containers, seq: 0 });
    const beat = setInterval(() => say({ kind: "beat" }), FEED_BEAT_MS / 2);
    response.once("close", () => clearInterval(beat));
  } else if (request.url === "/who") {
    void who(request, response);
  } else {
    request.resume().once("end", () => response.writeHead(204).end());
  }
}).listen(join(folder, "control.sock"));
process.once("SIGTERM", () => process.exit(0));

async function who(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let text = "";
  for await (const piece of request) text += String(piece);
  const callers = (JSON.parse(text) as CallersRequest).tokens.map((token) => holders.get(token) ?? null);
  response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ callers } satisfies CallersReply));
}
