import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

export const KEYS = 1_000;
export const CONTAINERS = 1_000;
/** The first so many containers are nginx with fixed bodies, the rest the server of `upstream.ts`. */
export const FIXED = 900;
export const PREFIX = "/api/docker/containers/proxy/";
export const WS_PREFIX = "/api/docker/containers/proxy-ws/";

/**
 * What every proxy must know to do the same work: 1 000 API keys, and 1 000 container ids with their addresses. Which key and which id
 * is the same in each run and each process.
 */
export type BenchWorld = {
  keys: string[];
  ids: string[];
  /** Ports on 127.0.0.1 of the two upstreams. */
  fixedPort: number;
  rawPort: number;
  /** A short folder for configurations, sockets and logs. */
  folder: string;
};

export function makeWorld(folder: string, fixedPort: number, rawPort: number): BenchWorld {
  const digest = (text: string) => createHash("sha256").update(text).digest("hex");
  const ids = Array.from({ length: CONTAINERS }, (_, index) => digest(`container ${index}`)).map(
    (hex) => `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`,
  );
  const keys = Array.from({ length: KEYS }, (_, index) => digest(`key ${index}`).slice(0, 48));
  const world = { keys, ids, fixedPort, rawPort, folder };
  // For the proxies and loads that are processes of their own; the script of wrk reads lines.
  writeFileSync(join(folder, "world.json"), JSON.stringify(world));
  writeFileSync(join(folder, "keys.txt"), keys.join("\n"));
  writeFileSync(join(folder, "ids.txt"), ids.join("\n"));
  return world;
}

export function portOf(world: BenchWorld, index: number): number {
  return index < FIXED ? world.fixedPort : world.rawPort;
}

/** Below the ports that the system gives to outgoing connections, of which a load makes thousands. */
const PORTS = { from: 15_000, count: 8_000 };

/** A port that was free a moment ago, and the one behind it: nginx and its like cannot say which one the system gave them. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.from + 2 * Math.floor(Math.random() * PORTS.count);
    if ((await isFree(port)) && (await isFree(port + 1))) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
      .once("error", () => resolve(false))
      .listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
