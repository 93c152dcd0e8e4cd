import { createServer, request, type RequestListener } from "node:http";
import { join } from "node:path";
import type { Test } from "tap";
import { type BerthProcess, startBerthProcess } from "../../fixtures/berth-process.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { listen } from "../../fixtures/server.ts";

/** What stands between the gateway and the server, as a load balancer does: counts requests, and can lose the server. */
export type Between = {
  base: string;
  /** `GET /api/…` of each request, in order, queries included. */
  requests: string[];
  /** How many of those were this. */
  count(line: string): number;
  /** Where it leads to; undefined: every connection is broken off. */
  to: string | undefined;
  /** Answers in the server's place where it says that it did. */
  instead: ((...args: Parameters<RequestListener>) => boolean) | undefined;
};

export async function openBetween(t: Test, to: string): Promise<Between> {
  const between: Between = { base: "", requests: [], count: (line) => between.requests.filter((one) => one === line).length, to, instead: undefined };
  const server = createServer((incoming, answer) => {
    between.requests.push(`${incoming.method} ${incoming.url}`);
    if (between.instead?.(incoming, answer)) return;
    if (between.to === undefined) return void incoming.socket.destroy();
    const onward = request(`${between.to}${incoming.url}`, { method: incoming.method, headers: incoming.headers }, (response) => {
      answer.writeHead(response.statusCode ?? 500, response.headers);
      response.pipe(answer);
    });
    onward.on("error", () => incoming.socket.destroy());
    answer.on("close", () => onward.destroy());
    incoming.pipe(onward);
  });
  const { port } = await listen(t, server);
  between.base = `http://127.0.0.1:${port}`;
  return between;
}

export type Gateway = BerthProcess & { base: string };

/** `berth gateway` alone, in front of the Datagrok server at `base`. */
export async function startGateway(t: Test, base: string, env: Record<string, string> = {}): Promise<Gateway> {
  const folder = tempFolder(t);
  const started = await startBerthProcess({
    role: "gateway",
    cwd: folder,
    env: {
      BERTH_EDGE_PORT: "0",
      BERTH_DATA: join(folder, "data"),
      BERTH_DIRECTORY: "datagrok",
      DATAGROK_URL: `${base}/api`,
      BERTH_LOG_LEVEL: "debug",
      ...env,
    },
    announces: /http:\/\/\S+?:\d+/,
  });
  t.teardown(() => started.end("SIGTERM"));
  return { ...started, base: started.announced[0] };
}
