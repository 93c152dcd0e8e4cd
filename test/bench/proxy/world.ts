import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeCertificate } from "../../fixtures/certificates.ts";

/** How many keys and containers there are. The first `fixed` containers are nginx with fixed bodies, the rest the server of `upstream.ts`. */
export type WorldSize = { keys: number; containers: number; fixed: number };

export const USUAL_SIZE: WorldSize = { keys: 1_000, containers: 1_000, fixed: 900 };
export const PREFIX = "/api/docker/containers/proxy/";
export const WS_PREFIX = "/api/docker/containers/proxy-ws/";

/**
 * What every proxy must know to do the same work: API keys, and container ids with their addresses. Which key and which id is the same in each run and
 * each process.
 */
export type BenchWorld = {
  keys: string[];
  ids: string[];
  /** Of `ids`. */
  fixed: number;
  /** Ports on 127.0.0.1 of the two upstreams. */
  fixedPort: number;
  rawPort: number;
  /** A short folder for configurations, sockets and logs. */
  folder: string;
};

export function makeWorld(folder: string, ports: { fixedPort: number; rawPort: number }, size: WorldSize): BenchWorld {
  const digest = (text: string) => createHash("sha256").update(text).digest("hex");
  const ids = Array.from({ length: size.containers }, (_, index) => digest(`container ${index}`)).map(
    (hex) => `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`,
  );
  const keys = Array.from({ length: size.keys }, (_, index) => digest(`key ${index}`).slice(0, 48));
  const world = { keys, ids, fixed: size.fixed, ...ports, folder };
  // For the proxies and loads that are processes of their own; the script of wrk reads lines.
  writeFileSync(join(folder, "world.json"), JSON.stringify(world));
  writeFileSync(join(folder, "keys.txt"), keys.join("\n"));
  writeFileSync(join(folder, "ids.txt"), ids.join("\n"));
  const pair = makeCertificate(folder, "bench-made");
  const files = certificateOf(world);
  writeFileSync(files.cert, pair.cert);
  writeFileSync(files.key, pair.key);
  return world;
}

/** The files of the certificate of those that speak TLS here. */
export function certificateOf({ folder }: Pick<BenchWorld, "folder">): { cert: string; key: string } {
  return { cert: join(folder, "tls.crt"), key: join(folder, "tls.key") };
}

export function portOf(world: BenchWorld, index: number): number {
  return index < world.fixed ? world.fixedPort : world.rawPort;
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
