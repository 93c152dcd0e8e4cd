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
  /** A request whose line (`POST /containers/x/stop …`) matches is taken and gets no answer, until `answer`. */
  hang(requests: RegExp): void;
  /** Whoever has not given up meanwhile is answered after all. */
  answer(): void;
  close(): Promise<void>;
};

type Line = { near: Socket; far: Socket; events: boolean; go?: () => void };

export async function openEngineProxy(engine: string): Promise<EngineProxy> {
  // A socket's path may have 107 bytes only.
  const folder = mkdtempSync(join(tmpdir(), "berth-engine-"));
  const path = join(folder, "docker.sock");
  const lines = new Set<Line>();
  let deaf = false;
  let hung: RegExp | undefined;
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
      const [request = ""] = head.toString("latin1").split("\r\n", 1);
      line.events = /^GET \S*\/events/.test(request);
      if (line.events && deaf) return drop(line);
      const pieces = [head];
      const keep = (piece: Buffer) => pieces.push(piece);
      line.go = () => {
        near.off("data", keep);
        line.far.write(Buffer.concat(pieces));
        near.pipe(line.far);
        delete line.go;
      };
      if (!hung?.test(request)) return line.go();
      // Read on, so that one who gives up is noticed.
      near.on("data", keep);
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
    hang: (requests) => (hung = requests),
    answer: () => {
      hung = undefined;
      for (const line of lines) line.go?.();
    },
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
