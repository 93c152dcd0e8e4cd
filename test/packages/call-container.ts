import type { BerthClient } from "../fixtures/berth.ts";
import { talkTo } from "../fixtures/talk.ts";
import { run } from "../gateway/registry/run.ts";
import type { StandIn, StandInRoute } from "./choose-stand-in.ts";

/** Of a package's routes, how many are called. */
const MAX_ROUTES = 4;
const TCP_S = 60;
const TABLES = "select count(*) from information_schema.tables where table_schema = 'public'";

const MCP_INITIALIZE = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "berth", version: "1.0.0" } },
};

/** Calls a container through berth once for each of its kinds of traffic, and says what came back. It fails for anything unexpected. */
export async function callContainer(berth: BerthClient, id: string, { kind, routes, webSockets }: StandIn, user: DatabaseUser): Promise<string> {
  if (kind === "worker") return "takes no requests";
  if (kind === "database") return askPostgres(berth, id, user);
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

async function callRoute(berth: BerthClient, id: string, { method, path }: StandInRoute): Promise<string> {
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

/** Who signs in to a database, as a connection of the package says. */
export type DatabaseUser = { user: string; password: string; database: string };

/** Counts the tables with PostgreSQL's own client. */
async function askPostgres(berth: BerthClient, id: string, { user, password, database }: DatabaseUser): Promise<string> {
  const { address = "", port = 0 } = (await (await berth.call(`/docker/containers/${id}`)).json()) as { address?: string; port?: number };
  const connection = `host=${address} port=${port} user=${user} dbname=${database} connect_timeout=${TCP_S}`;
  const { code, output } = await run("psql", ["-XAtc", TABLES, connection], { env: { PGPASSWORD: password } });
  if (code !== 0) throw new Error(`psql at ${address}:${port}: ${output.trim()}`);
  return `psql at its listener counts ${output.trim()} tables`;
}
