/**
 * A container in a process of its own that does with each request what the request's plan says. Each response has the id of its request in `X-Id`, and the
 * checksum of the body that came in `X-Sum`. WebSockets get each message back. Two ports: the second closes idle connections early.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { crc32 } from "node:zlib";
import { WebSocketServer, type WebSocket } from "ws";
import { describeResponses, describeSockets } from "../open-objects.ts";
import { bodyOf, planIn, type ContainerPlan } from "./plan.ts";

/** Close to the time for which the gateway of the soak keeps connections: then both use one at the same moment, now and then. */
const HASTY_IDLE_MS = 400;
const DRIP_MS = 5;
const PAUSE_MS = 250;
/** Mostly, the gateway has taken the response by then. */
const RESET_AFTER_MS = 2;

const webSockets = new WebSocketServer({ noServer: true });

async function openPort(keepAliveTimeout: number): Promise<number> {
  const server = createServer({ keepAliveTimeout, noDelay: true }, answer);
  Reflect.set(server, "keepAliveTimeoutBuffer", 0);
  server.on("upgrade", (request, socket, head) => webSockets.handleUpgrade(request, socket, head, echo));
  await new Promise<void>((resolve) => void server.listen({ port: 0, host: "0.0.0.0", backlog: 4_096 }, resolve));
  return (server.address() as AddressInfo).port;
}

function echo(webSocket: WebSocket): void {
  webSocket.on("error", () => undefined);
  webSocket.on("message", (message: Buffer, isBinary) => {
    const text = isBinary ? "" : String(message);
    if (text === "close") webSocket.close(1_000);
    else if (text === "terminate") webSocket.terminate();
    else webSocket.send(message, { binary: isBinary });
  });
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  const plan = planIn(request.url ?? "");
  let sum = 0;
  request.on("error", () => undefined);
  response.on("error", () => undefined);
  if (plan.act === "resets") return void request.socket.resetAndDestroy();
  if (plan.act.startsWith("answers early")) return answerEarly(plan, request, response);
  request.on("data", (piece: Buffer) => (sum = crc32(piece, sum)));
  request.once("end", () => act(plan, sum, request, response));
}

function answerEarly({ id, act }: ContainerPlan, request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(413, { "X-Id": id, "Content-Length": 2, ...(act === "answers early" ? {} : { Connection: "close" }) });
  response.end("no");
  request.resume();
}

function act(plan: ContainerPlan, sum: number, { method, socket }: IncomingMessage, response: ServerResponse): void {
  if (plan.act === "is silent") return;
  // A response that waits for the end of the previous one has no socket yet: Node would send its hints behind its head.
  const interim = response.socket === null ? 0 : plan.interim;
  for (let nth = 0; nth < interim; nth++) response.writeEarlyHints({ link: `</${nth}>; rel=preload` });
  const body = bodyOf(plan.id, plan.length);
  const framing: Record<ContainerPlan["framing"], Record<string, string | number>> = {
    length: { "Content-Length": body.length },
    chunked: { "Transfer-Encoding": "chunked", Trailer: "X-Trailer" },
    close: { Connection: "close" },
  };
  if (plan.framing === "close") response.useChunkedEncodingByDefault = false;
  response.writeHead(plan.status, { "X-Id": plan.id, "X-Sum": sum, ...framing[plan.framing] });
  if (plan.framing === "chunked") response.addTrailers({ "X-Trailer": plan.id });
  if (method === "HEAD" || plan.act === "answers") return void response.end(method === "HEAD" ? undefined : body);
  if (plan.act === "drips") return drip(response, body, 0);
  if (plan.act === "resets after") return void response.end(body, () => setTimeout(() => socket.resetAndDestroy(), RESET_AFTER_MS));
  const half = body.subarray(0, body.length / 2);
  if (plan.act === "pauses") return void response.write(half, () => setTimeout(() => response.end(body.subarray(half.length)), PAUSE_MS));
  response.write(half, () => (plan.act === "resets within" ? socket.resetAndDestroy() : socket.destroy()));
}

function drip(response: ServerResponse, body: Buffer, at: number): void {
  if (response.destroyed) return;
  const end = Math.min(body.length, at + 1 + Math.ceil(body.length / 8));
  if (end === body.length) return void response.end(body.subarray(at, end));
  response.write(body.subarray(at, end));
  setTimeout(drip, DRIP_MS, response, body, end);
}

process.on("message", () => {
  void Promise.all([describeResponses(), describeSockets()]).then((lines) => process.send?.(lines.flat()));
});
process.send?.({ port: await openPort(60_000), hastyPort: await openPort(HASTY_IDLE_MS) });
process.once("disconnect", () => process.exit(0));
