import { subscribe } from "node:diagnostics_channel";
import { appendFileSync } from "node:fs";
import type { ClientRequest } from "node:http";

const WRITE_EVERY_MS = 250;

/** Loaded into each process of berth (`--import`), it writes a line for every call to the engine into the file that `ENGINE_CALLS` names. */
const file = process.env["ENGINE_CALLS"];
const socket = process.env["DOCKER_HOST"]?.replace(/^unix:\/\//, "");

if (file !== undefined && socket !== undefined) {
  let lines = "";
  const write = () => {
    appendFileSync(file, lines);
    lines = "";
  };
  subscribe("http.client.request.start", (message) => {
    const { request } = message as { request: ClientRequest & { socketPath?: string } };
    if (request.socketPath !== socket) return;
    if (lines === "") setTimeout(write, WRITE_EVERY_MS);
    lines += `${Date.now()} ${request.method} ${kindOf(request.path)}\n`;
  });
}

/** The path without parameters, and with `*` for what is named. */
function kindOf(path: string): string {
  return path.replace(/\?.*/, "").replace(/^\/(containers|networks|images)\/(?!create$|json$).+?(\/(?:json|start|stop|wait|logs))?$/, "/$1/*$2");
}

/** How many calls of each kind were made from `since` (epoch ms) on, the most frequent first. */
export function countCalls(lines: string, since: number): string {
  const counts = new Map<string, number>();
  for (const line of lines.split("\n")) {
    const [at, ...call] = line.split(" ");
    const kind = call.join(" ");
    if (Number(at) >= since) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  const sorted = [...counts].toSorted(([, one], [, other]) => other - one);
  return sorted.map(([kind, count]) => `${count} ${kind}`).join(", ");
}
