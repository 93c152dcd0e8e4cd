import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Docker from "dockerode";

import { ENV, openOwnNetwork, type OwnNetwork } from "./own-network.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** A Docker engine for one test alone, which may end and start it as `systemctl restart docker` would. */
export type OwnEngine = {
  /** What `DOCKER_HOST` is to be. */
  host: string;
  docker: Docker;
  /** Where it reaches what listens on this machine; a registry there is trusted without TLS. */
  here: string;
  /** Where ports that it publishes are reached. */
  there: string;
  network: OwnNetwork;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Has its process stand still with SIGSTOP: connections are accepted, and nothing answers. Until `resume`. */
  pause(): void;
  resume(): void;
  /** Stops it, and leaves nothing of it behind. */
  close(): Promise<void>;
};

const ANSWERS_WITHIN_MS = 180_000;
const STOPS_WITHIN_MS = 120_000;

/**
 * It lives in a network of its own: an engine takes away what it does not know of another's bridges and firewall rules, or adds its
 * own. Containers are then reached from this machine alone, which is all that berth does.
 */
export async function openOwnEngine(flags: readonly string[] = [], nth = 0): Promise<OwnEngine> {
  const network = await openOwnNetwork(nth);
  // Its firewall rules would keep us out.
  const open = ["--iptables=false", "--ip6tables=false", `--default-address-pool=base=${network.subnet},size=26`];
  return openEngineIn(network, [...open, `--insecure-registry=${network.here}/32`, ...flags]);
}

/** A Docker engine in a network, as an administrator has it on a machine: with its firewall rules, unless `flags` say otherwise. It closes the network. */
export async function openEngineIn(network: OwnNetwork, flags: readonly string[] = []): Promise<OwnEngine> {
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
    const [program, args] = network.inside(
      "setpriv",
      "--pdeathsig=TERM",
      "dockerd",
      `--host=${host}`,
      `--data-root=${join(folder, "data")}`,
      `--exec-root=${join(folder, "exec")}`,
      `--pidfile=${join(folder, "pid")}`,
      ...flags,
    );
    const child = spawn(program, args, { stdio: ["ignore", log, log], detached: true, env: ENV });
    closeSync(log);
    running = child;
    await eventually(
      "the test's own engine to answer",
      () => {
        if (child.exitCode !== null)
          throw new Error(`The test's own engine ended:\n${readFileSync(logFile, "utf8").split("\n").slice(-20).join("\n")}`);
        return docker.ping().then(
          () => true,
          () => undefined,
        );
      },
      ANSWERS_WITHIN_MS,
    );
  };
  const stop = async () => {
    const child = running;
    running = undefined;
    if (!child || child.exitCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGTERM");
    child.kill("SIGCONT");
    const late = setTimeout(() => child.kill("SIGKILL"), STOPS_WITHIN_MS);
    await gone;
    clearTimeout(late);
  };
  const close = async () => {
    await stop();
    await network.close();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (error) {
    await close();
    throw error;
  }
  return {
    host,
    docker,
    here: network.here,
    there: network.there,
    network,
    start,
    stop,
    pause: () => void running?.kill("SIGSTOP"),
    resume: () => void running?.kill("SIGCONT"),
    close,
  };
}
