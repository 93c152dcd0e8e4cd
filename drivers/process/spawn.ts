import { spawn } from "node:child_process";
import { closeSync, constants, openSync } from "node:fs";
import { constants as os } from "node:os";
import { delimiter, dirname } from "node:path";
import { createServer } from "node:net";
import { advisedFault } from "../faults.ts";

const { O_APPEND, O_CREAT, O_TRUNC, O_WRONLY } = constants;

/**
 * Writes down who it is, then becomes the service (`exec` keeps pid and start time): whenever berth is killed, no service runs
 * without a record of its process.
 */
const PREAMBLE = '{ read -r s < /proc/$$/stat; } 2>/dev/null || s=$$; printf "%s\\n" "$s" > "$0.tmp" && mv "$0.tmp" "$0" && exec "$@"';

const SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

export type Launch = { command: string[]; cwd: string; env: Record<string, string>; nodePath: string; statPath: string; logPath: string };

/** Starts a service in a session and process group of its own; it outlives berth. `onExit` is called if berth lives to see it end. */
export function launch({ command, cwd, env, nodePath, statPath, logPath }: Launch, onExit: (pid: number, code: number) => void): Promise<void> {
  // Appending, so that what is cut off at its front does not leave a hole.
  const log = openSync(logPath, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o600);
  // Nothing of berth's own environment is handed on: it may hold secrets.
  const PATH = [dirname(nodePath), ...(env["PATH"] ? [env["PATH"]] : []), ...SYSTEM_PATH].join(delimiter);
  const child = spawn("/bin/sh", ["-c", PREAMBLE, statPath, ...command], { cwd, env: { ...env, PATH }, detached: true, stdio: ["ignore", log, log] });
  closeSync(log);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("spawn", () => resolve());
    // As a shell says it, and Docker: 128 and the signal's number.
    child.once("exit", (code, signal) => onExit(child.pid ?? 0, code ?? 128 + (signal ? os.signals[signal] : 0)));
    child.unref();
  });
}

/** Below the range from which the kernel takes ports for outgoing connections, so that none of those takes it meanwhile. */
const FIRST = 20_000;
const LAST = 32_767;
const TRIES = 100;

/** A port that nobody listens on and that no other service here was given. */
export async function freePort(taken: ReadonlySet<number>): Promise<number> {
  for (let tried = 0; tried < TRIES; tried++) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    if (!taken.has(port) && (await isFree(port))) return port;
  }
  throw advisedFault("NO_CAPACITY", `No free port was found between ${FIRST} and ${LAST}.`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    // On all addresses, as an app may listen.
    probe.listen({ port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
