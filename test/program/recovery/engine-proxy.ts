import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A socket of its own in front of a real engine, which a test may take away: to berth, the engine is then gone. */
export type EngineProxy = {
  /** What `DOCKER_HOST` is to be. */
  host: string;
  /** From now on no connection gets through, and open ones are cut off. */
  cut(): Promise<void>;
  mend(): Promise<void>;
  /** Only the stream of events is cut off, and kept away until `mendEvents`. */
  cutEvents(): void;
  mendEvents(): void;
  /** A request whose line (`POST /containers/x/stop …`) matches is taken and gets no answer, until `answer`. */
  hang(requests: RegExp): void;
  /** From now on a request whose line matches reaches the engine so many milliseconds later. */
  slow(requests: RegExp, ms: number): void;
  /** From now on the engine's events come so many milliseconds later; 0: at once. */
  slowEvents(ms: number): void;
  /** Requests that still wait are answered after all. */
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
  let slowed: { requests: RegExp; ms: number } | undefined;
  let eventsMs = 0;
  const timers = new Set<NodeJS.Timeout>();
  const later = (ms: number, task: () => void) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      task();
    }, ms);
    timers.add(timer);
  };
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
      if (!hung?.test(request)) {
        if (slowed?.requests.test(request) !== true) return line.go();
        near.on("data", keep);
        return later(slowed.ms, () => line.go?.());
      }
      // Read on, so that one who gives up is noticed.
      near.on("data", keep);
    });
    line.far.on("data", (piece: Buffer) => {
      const write = () => void (near.writable && near.write(piece));
      if (line.events && eventsMs > 0) return later(eventsMs, write);
      write();
    });
    line.far.once("end", () => near.end());
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
    slow: (requests, ms) => (slowed = { requests, ms }),
    slowEvents: (ms) => (eventsMs = ms),
    hang: (requests) => (hung = requests),
    answer: () => {
      hung = undefined;
      for (const line of lines) line.go?.();
    },
    close: async () => {
      for (const timer of timers) clearTimeout(timer);
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
