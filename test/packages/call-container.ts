import { once } from "node:events";
import { connect } from "node:net";
import type { BerthClient } from "../fixtures/berth.ts";
import { talkTo } from "../fixtures/talk.ts";
import type { Route, StandIn } from "./choose-stand-in.ts";

/** Of a package's routes, how many are called. */
const MAX_ROUTES = 4;
const TCP_MS = 30_000;

const MCP_INITIALIZE = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "berth", version: "1.0.0" } },
};

/** Calls a container through berth once for each of its kinds of traffic, and says what came back. It fails for anything unexpected. */
export async function callContainer(berth: BerthClient, id: string, { kind, routes, webSockets }: StandIn): Promise<string> {
  if (kind === "worker") return "takes no requests";
  if (kind === "database") return askPostgres(berth, id);
  const results: string[] = [];
  const called = routes.length > 0 ? routes.slice(0, MAX_ROUTES) : [{ method: "GET", path: "/" }];
  for (const route of called) results.push(await callRoute(berth, id, route));
  for (const path of webSockets) {
    const { received } = await talkTo(berth, id, path, ["hello"], 2);
    if (received.join() !== "text:CONNECTED,text:hello") throw new Error(`proxy-ws ${path} received ${received.join()}`);
    results.push(`proxy-ws ${path} echoes`);
  }
  return results.join("; ");
}

async function callRoute(berth: BerthClient, id: string, { method, path }: Route): Promise<string> {
  const isMcp = path === "/mcp";
  const body = isMcp ? JSON.stringify(MCP_INITIALIZE) : "{}";
  const headers = { "content-type": "application/json", accept: "application/json, text/event-stream" };
  const response = await berth.call(`/docker/containers/proxy/${id}${path}?from=berth`, {
    method,
    headers,
    ...(["GET", "HEAD"].includes(method) ? {} : { body }),
  });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 300)}`);
  if (isMcp && !/^event: message\ndata: .*"id":1/.test(text)) throw new Error(`${method} ${path} answered no event: ${text.slice(0, 100)}`);
  return `${method} ${path} ${response.status}${isMcp ? " event stream" : ""}`;
}

/** As PostgreSQL's clients begin: a start-up packet, to which the server answers with a request for a password. */
async function askPostgres(berth: BerthClient, id: string): Promise<string> {
  const { address = "", port = 0 } = (await (await berth.call(`/docker/containers/${id}`)).json()) as { address?: string; port?: number };
  const parameters = Buffer.from("user\0datagrok\0\0");
  const packet = Buffer.alloc(8 + parameters.length);
  packet.writeInt32BE(packet.length, 0);
  packet.writeInt32BE(196_608, 4);
  parameters.copy(packet, 8);
  const socket = connect(port, address);
  try {
    const signal = AbortSignal.timeout(TCP_MS);
    await once(socket, "connect", { signal });
    socket.write(packet);
    const [reply] = (await once(socket, "data", { signal })) as [Buffer];
    if (reply[0] !== "R".charCodeAt(0)) throw new Error(`${address}:${port} is no PostgreSQL: ${reply.toString("latin1").slice(0, 100)}`);
    return `PostgreSQL at port ${port} asks for a password`;
  } finally {
    socket.destroy();
  }
}
