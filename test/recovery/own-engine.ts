import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Docker from "dockerode";
import { eventually } from "../fixtures/berth.ts";

/** A Docker engine for one test alone, which may end and start it as `systemctl restart docker` would. */
export type OwnEngine = {
  /** What `DOCKER_HOST` is to be. */
  host: string;
  docker: Docker;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Stops it, and leaves nothing of it behind. */
  close(): Promise<void>;
};

const ANSWERS_WITHIN_MS = 30_000;
const STOPS_WITHIN_MS = 30_000;

/**
 * It lives beside the engine of the other tests, so it keeps its hands off the firewall and takes addresses that the other does not
 * give away. Containers are then reached from this machine alone, which is all that berth does.
 */
export async function openOwnEngine(): Promise<OwnEngine> {
  // A socket's path may have 107 bytes only.
  const folder = mkdtempSync(join(tmpdir(), "berth-own-"));
  const socketPath = join(folder, "docker.sock");
  const host = `unix://${socketPath}`;
  const logFile = join(folder, "log");
  const docker = new Docker({ socketPath, timeout: 10_000 });
  let running: ChildProcess | undefined;

  const start = async () => {
    const log = openSync(logFile, "a");
    // Should this process be killed outright, the kernel ends the engine.
    const child = spawn(
      "setpriv",
      [
        "--pdeathsig=TERM",
        "dockerd",
        `--host=${host}`,
        `--data-root=${join(folder, "data")}`,
        `--exec-root=${join(folder, "exec")}`,
        `--pidfile=${join(folder, "pid")}`,
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--bridge=none",
        "--default-address-pool=base=10.213.0.0/16,size=24",
      ],
      { stdio: ["ignore", log, log], detached: true, env: { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` } },
    );
    closeSync(log);
    running = child;
    await eventually("the test's own engine to answer", ANSWERS_WITHIN_MS, () => {
      if (child.exitCode !== null)
        throw new Error(`The test's own engine ended:\n${readFileSync(logFile, "utf8").split("\n").slice(-20).join("\n")}`);
      return docker.ping().then(
        () => true,
        () => undefined,
      );
    });
  };
  const stop = async () => {
    const child = running;
    running = undefined;
    if (!child || child.exitCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), STOPS_WITHIN_MS);
    await gone;
    clearTimeout(late);
  };
  await start();
  return {
    host,
    docker,
    start,
    stop,
    close: async () => {
      await stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
