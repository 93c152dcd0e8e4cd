import type { Clock } from "../../lib/clock.ts";
import { advisedFault, crashFault } from "../faults.ts";
import type { Address, DeployCall, Deployment, Labels, Spec } from "../driver.ts";
import { awaitReady } from "../ready.ts";
import { destroy } from "./destroy.ts";
import { localise, readRecipe } from "./resolve.ts";
import { lastLog } from "./logs.ts";
import { instanceOf, type Records } from "./records.ts";
import { foreignOwnerOf } from "../labels.ts";
import { spawn } from "node:child_process";
import { closeSync, constants, openSync } from "node:fs";
import { constants as os } from "node:os";
import { delimiter, dirname } from "node:path";
import { createServer } from "node:net";

const LOOK_EVERY_MS = 10;
/** From the shell's start to its own record of itself; longer, and it never started. */
const RECORD_MS = 5_000;
/** A dead child's exit code reaches us a moment after its death. */
const EXIT_CODE_MS = 250;
const LAST_LINES = 20;

export type ProcessDeps = { records: Records; clock: Clock; nodePath: string };

export async function deploy(host: ProcessDeps, spec: Spec, { signal, onLaunched, onAddress }: DeployCall): Promise<Deployment> {
  const { records, clock } = host;
  const began = clock.monotonic();
  const port = await startOrAdopt(host, spec, signal);
  try {
    onLaunched?.();
    const started = clock.monotonic();
    const address: Address | undefined = port === undefined ? undefined : { host: "127.0.0.1", port };
    const found = records.find(spec.service);
    const instance = found && instanceOf(found);
    // Its own record is held before it starts: no other service here has its port.
    if (address) onAddress?.(address, instance, true);
    await alive(host, spec, address, signal);
    return { ...(address ? { address } : {}), instance, phases: { create: started - began, boot: clock.monotonic() - started } };
  } catch (error) {
    await destroy(records, clock, spec.service);
    throw error;
  }
}

/** Returns the port that the service was given, where its spec has one. */
async function startOrAdopt(host: ProcessDeps, spec: Spec, signal: AbortSignal): Promise<number | undefined> {
  const { records, clock, nodePath } = host;
  const recipe = await readRecipe({ ref: spec.image, folder: spec.folder });
  signal.throwIfAborted();
  for (;;) {
    const port = spec.port === undefined ? undefined : await freePort(new Set(records.all().flatMap((one) => one.port ?? [])));
    if (records.claim({ service: spec.service, labels: spec.labels, port, boot: records.boot })) {
      const env = { ...recipe.env, ...spec.env, ...(port === undefined ? {} : { PORT: String(port) }) };
      const files = { statPath: records.statPath(spec.service), logPath: records.logPath(spec.service) };
      try {
        await launch({ ...localise(recipe, nodePath), env, nodePath, ...files }, (pid, code) => records.ended(spec.service, pid, code));
        // Not to be called off: a process that nobody knows yet could not be ended.
        await recorded(host, spec.service);
        signal.throwIfAborted();
      } catch (error) {
        await destroy(records, clock, spec.service);
        throw error;
      }
      return port;
    }
    await recorded(host, spec.service, signal);
    const found = records.find(spec.service);
    if (found) refuseForeignOwner(found.labels, spec);
    if (found?.running && found.labels.generation === spec.labels.generation && (found.port === undefined) === (spec.port === undefined))
      return found.port;
    await destroy(records, clock, spec.service, signal);
  }
}

function refuseForeignOwner(holder: Labels, spec: Spec): void {
  const owner = foreignOwnerOf(holder, spec.labels);
  if (owner !== undefined) throw advisedFault("SPEC_REFUSED", `The name ${spec.service} is taken by ${owner}`);
}

/** Waits until the service's process is known, or the record turns out to be one that was never filled. */
async function recorded({ records, clock }: ProcessDeps, service: string, signal?: AbortSignal): Promise<void> {
  for (const end = clock.monotonic() + RECORD_MS; clock.monotonic() < end;) {
    const found = records.find(service);
    if (!found || found.process || found.boot !== records.boot) return;
    await clock.sleep(LOOK_EVERY_MS, signal);
  }
}

/** Resolves when the service is ready, rejects as soon as it has died. */
async function alive(host: ProcessDeps, spec: Spec, address: Address | undefined, signal: AbortSignal): Promise<void> {
  const { clock } = host;
  const over = new AbortController();
  const either = AbortSignal.any([signal, over.signal]);
  const ready = address ? awaitReady(address, "accepted", { clock, signal: either }) : clock.sleep(spec.graceMs, either);
  try {
    await Promise.race([death(host, spec, either), ready]);
  } finally {
    over.abort(new Error("The start is decided."));
  }
}

async function death({ records, clock }: ProcessDeps, spec: Spec, signal: AbortSignal): Promise<never> {
  while (records.find(spec.service)?.running) await clock.sleep(LOOK_EVERY_MS, signal);
  const ended = clock.monotonic();
  while (records.find(spec.service)?.exitCode === undefined && clock.monotonic() - ended < EXIT_CODE_MS) await clock.sleep(LOOK_EVERY_MS, signal);
  const code = records.find(spec.service)?.exitCode;
  const lines = await lastLog(records, clock, spec.service, LAST_LINES, signal);
  throw crashFault(spec, { code, outOfMemory: false }, lines);
}

const { O_APPEND, O_CREAT, O_TRUNC, O_WRONLY } = constants;

/**
 * Writes down who it is, then becomes the service (`exec` keeps pid and start time): whenever berth is killed, no service runs
 * without a record of its process.
 */
const PREAMBLE = '{ read -r s < /proc/$$/stat; } 2>/dev/null || s=$$; printf "%s\\n" "$s" > "$0.tmp" && mv "$0.tmp" "$0" && exec "$@"';

const SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

export type ProcessLaunch = { command: string[]; cwd: string; env: Record<string, string>; nodePath: string; statPath: string; logPath: string };

/** Starts a service in a session and process group of its own; it outlives berth. `onExit` is called if berth lives to see it end. */
export function launch(
  { command, cwd, env, nodePath, statPath, logPath }: ProcessLaunch,
  onExit: (pid: number, code: number) => void,
): Promise<void> {
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
