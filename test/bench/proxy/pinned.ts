import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** The proxy under test has this core to itself; who asks and who answers share the other. */
export const PROXY_CORE = "0";
export const LOAD_CORE = "1";
export const BOTH_CORES = "0,1";

/** As `taskset -c` takes them. */
export type Cores = typeof PROXY_CORE | typeof LOAD_CORE | typeof BOTH_CORES;

export type PinnedCommand = { argv: string[]; env?: Record<string, string> };

export type Pinned = {
  pid: number;
  /** Everything that it wrote, for when something goes wrong. */
  output(): string;
  ended(): boolean;
  signal(name: "SIGSTOP" | "SIGCONT" | "SIGINT"): void;
  stop(): Promise<void>;
};

const PATHS = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
const START_MS = 15_000;
const STOP_MS = 3_000;

/** Opens processes on the cores that each may use. Should this process be killed, the kernel ends them; `stopAll` ends all that still run. */
export function openPinned(folder: string) {
  const running = new Set<Pinned>();
  let count = 0;

  const start = (name: string, cores: Cores, { argv, env }: PinnedCommand, endedBy: "TERM" | "KILL" = "TERM"): Pinned => {
    const file = join(folder, `${count++}-${name.replaceAll(/[^a-z0-9]+/gi, "-")}.log`);
    const log = openSync(file, "w");
    const child = spawn("setpriv", [`--pdeathsig=${endedBy}`, "taskset", "-c", cores, ...argv], {
      cwd: folder,
      stdio: ["ignore", log, log],
      env: { PATH: PATHS, HOME: folder, ...env },
    });
    closeSync(log);
    child.once("error", () => undefined);
    const pinned: Pinned = {
      pid: child.pid ?? 0,
      output: () => readFileSync(file, "utf8"),
      ended: () => child.exitCode !== null || child.signalCode !== null || child.pid === undefined,
      signal: (signal) => void child.kill(signal),
      stop: async () => {
        await endTree(child);
        running.delete(pinned);
      },
    };
    running.add(pinned);
    return pinned;
  };

  return {
    start,
    /** Starts a server and waits until something accepts on its port. */
    serve: async (name: string, cores: Cores, command: PinnedCommand, port: number): Promise<Pinned> => {
      const pinned = start(name, cores, command);
      const end = Date.now() + START_MS;
      while (!(await accepts(port))) {
        if (pinned.ended() || Date.now() > end) {
          const printed = pinned.output();
          await pinned.stop();
          throw new Error(`${name} did not start:\n${printed.slice(-2_000)}`);
        }
        await sleep(25);
      }
      return pinned;
    },
    /** Starts a load, which may be stopped by a signal: then only SIGKILL ends it. */
    startLoad: (name: string, command: PinnedCommand, cores: Cores = LOAD_CORE) => start(name, cores, command, "KILL"),
    /** Waits for a load's end and returns what it printed. */
    outputOf: async (load: Pinned, withinMs: number): Promise<string> => {
      const end = Date.now() + withinMs;
      while (!load.ended()) {
        if (Date.now() > end) {
          await load.stop();
          throw new Error(`a load was not done within ${withinMs} ms: ${load.output().slice(-500)}`);
        }
        await sleep(10);
      }
      running.delete(load);
      return load.output();
    },
    stopAll: async () => {
      await Promise.all([...running].map((one) => one.stop()));
    },
  };
}

export type Processes = ReturnType<typeof openPinned>;

/** A process and all that it started; in this order a parent cannot start a child anew. */
export function tree(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
    return [pid, ...children.flatMap(tree)];
  } catch {
    return [];
  }
}

async function endTree(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  const pids = tree(child.pid);
  child.kill("SIGTERM");
  child.kill("SIGCONT");
  const ended = await Promise.race([exit.then(() => true), sleep(STOP_MS, false, { ref: false })]);
  if (ended) return;
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended meanwhile.
    }
  }
  await exit;
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const open = await Promise.race([once(socket, "connect").then(() => true), once(socket, "error").then(() => false)]).catch(() => false);
  socket.destroy();
  return open;
}
