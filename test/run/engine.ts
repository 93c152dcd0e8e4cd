import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import Docker from "dockerode";

export type TestEngine = {
  /** What `DOCKER_HOST` is to be. */
  host: string;
  /** The last lines that the engine logged; empty where it is not ours. */
  logTail(): string;
  close(): Promise<void>;
};

const ANSWERS_WITHIN_MS = 180_000;
const STOPS_WITHIN_MS = 120_000;

/** The engine that `DOCKER_HOST` names, or one of our own where it names none. */
export async function openEngine(named: string | undefined): Promise<TestEngine> {
  if (named !== undefined && named !== "") {
    await dockerAt(named).ping();
    return { host: named, logTail: () => "", close: async () => {} };
  }
  return startEngine();
}

/**
 * Starts a `dockerd` on its own data root and socket, in the network that this process is in. The data root stays between
 * runs, so that images built by one run are there for the next.
 */
async function startEngine(): Promise<TestEngine> {
  // Short, since the path of a Unix socket may have 107 bytes only.
  const kept = join(tmpdir(), `berth-test-engine-${process.getuid?.() ?? 0}`);
  // Another run has the kept one: this one builds its images anew, in a folder that goes with it.
  const passing = !takeFolder(ownFolder(kept));
  const folder = passing ? ownFolder(`${kept}-${process.pid}`) : kept;
  const pidFile = join(folder, "pid");
  rmSync(pidFile, { force: true });
  const socket = join(folder, "docker.sock");
  rmSync(socket, { force: true });
  const logFile = join(folder, "log");
  const log = openSync(logFile, "w");
  // Should this process be killed outright, the kernel ends the engine. A group of its own: Ctrl-C reaches it through us.
  const child = spawn(
    "setpriv",
    [
      "--pdeathsig=TERM",
      "dockerd",
      `--host=unix://${socket}`,
      `--data-root=${join(folder, "data")}`,
      `--exec-root=${join(folder, "exec")}`,
      `--pidfile=${pidFile}`,
    ],
    { stdio: ["ignore", log, log], detached: true, env: process.env },
  );
  closeSync(log);
  let ended = false;
  const end = new Promise<void>((resolve) => {
    const over = () => {
      ended = true;
      resolve();
    };
    child.once("exit", over).once("error", over);
  });

  const engine: TestEngine = {
    host: `unix://${socket}`,
    logTail: () => readFileSync(logFile, "utf8").split("\n").slice(-20).join("\n"),
    close: async () => {
      if (!ended) child.kill("SIGTERM");
      if (!(await within(STOPS_WITHIN_MS, end))) child.kill("SIGKILL");
      await end;
      rmSync(passing ? folder : join(folder, "run"), { recursive: true, force: true });
    },
  };
  try {
    const docker = dockerAt(engine.host);
    const deadline = Date.now() + ANSWERS_WITHIN_MS;
    while (!(await answers(docker))) {
      if (ended || Date.now() > deadline) throw new Error(`The tests' Docker engine does not answer:\n${engine.logTail()}`);
      await sleep(100);
    }
    await clear(docker);
  } catch (error) {
    await engine.close();
    throw error;
  }
  return engine;
}

function dockerAt(host: string): Docker {
  const at = new URL(host);
  const options = at.protocol === "unix:" ? { socketPath: at.pathname } : { host: at.hostname, port: Number(at.port || 2375) };
  return new Docker({ ...options, timeout: 10_000 });
}

function answers(docker: Docker): Promise<boolean> {
  return docker.ping().then(
    () => true,
    () => false,
  );
}

/** What a killed run left behind goes; images stay. */
async function clear(docker: Docker): Promise<void> {
  const left = await docker.listContainers({ all: true });
  await Promise.all(left.map((one) => docker.getContainer(one.Id).remove({ force: true, v: true })));
  await docker.pruneNetworks();
}

function ownFolder(path: string): string {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (statSync(path).uid !== process.getuid?.()) throw new Error(`${path} belongs to another user`);
  return path;
}

/** False while another run has this folder. Its mark, a link, is made in one step, since two runs may begin at the same moment. */
function takeFolder(folder: string): boolean {
  const mark = join(folder, "run");
  for (;;) {
    try {
      symlinkSync(String(process.pid), mark);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      if (isOfRun(mark)) return false;
      rmSync(mark, { force: true });
    }
  }
}

/** A process that merely has the number of a run that has ended is none. */
function isOfRun(mark: string): boolean {
  try {
    const pid = readlinkSync(mark);
    return pid !== String(process.pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("test/run.ts");
  } catch {
    return false;
  }
}

async function within(ms: number, done: Promise<void>): Promise<boolean> {
  const gone = new AbortController();
  const late = sleep(ms, false, { signal: gone.signal }).catch(() => false);
  const first = await Promise.race([done.then(() => true), late]);
  gone.abort();
  return first;
}
