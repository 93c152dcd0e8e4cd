import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A socket of its own in front of a real engine, which a test may take away: to berth, the engine is then gone. */
export type EngineProxy = {
  /** What `DOCKER_HOST` is to be. */
  host: string;
  /** From now on nobody gets through, and whoever was connected is cut off. */
  cut(): Promise<void>;
  mend(): Promise<void>;
  /** Only the stream of events is cut off, and kept away until `mendEvents`. */
  cutEvents(): void;
  mendEvents(): void;
  close(): Promise<void>;
};

type Line = { near: Socket; far: Socket; events: boolean };

export async function openEngineProxy(engine: string): Promise<EngineProxy> {
  // A socket's path may have 107 bytes only.
  const folder = mkdtempSync(join(tmpdir(), "berth-engine-"));
  const path = join(folder, "docker.sock");
  const lines = new Set<Line>();
  let deaf = false;
  const drop = ({ near, far }: Line) => {
    near.destroy();
    far.destroy();
  };

  const server = createServer((near) => {
    const line: Line = { near, far: dial(engine), events: false };
    lines.add(line);
    for (const socket of [near, line.far]) {
      socket.on("error", () => drop(line));
      socket.once("close", () => {
        lines.delete(line);
        drop(line);
      });
    }
    near.once("data", (head: Buffer) => {
      line.events = /^GET \S*\/events/.test(head.toString("latin1"));
      if (line.events && deaf) return drop(line);
      line.far.write(head);
      near.pipe(line.far);
    });
    line.far.pipe(near);
  });
  const listen = () => new Promise<void>((resolve) => void server.listen(path, resolve));
  const cut = () => {
    const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
    for (const line of lines) drop(line);
    return closed;
  };
  await listen();
  return {
    host: `unix://${path}`,
    cut,
    mend: listen,
    cutEvents: () => {
      deaf = true;
      for (const line of lines) if (line.events) drop(line);
    },
    mendEvents: () => (deaf = false),
    close: async () => {
      if (server.listening) await cut();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function dial(host: string): Socket {
  const unix = /^unix:\/\/(.+)$/.exec(host);
  if (unix) return connect(unix[1] as string);
  const url = new URL(host.replace(/^tcp:/, "http:"));
  return connect(Number(url.port), url.hostname);
}
