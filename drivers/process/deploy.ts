import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, constants, openSync } from "node:fs";
import { createServer } from "node:net";
import { constants as os } from "node:os";
import { delimiter, dirname } from "node:path";
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { type Address, type DeployCall, type Deployment, leavesRunning, type Spec } from "../driver.ts";
import { advisedFault, crashFault, LOG_TAIL_LINES, logTail } from "../faults.ts";
import { refuseForeignOwner } from "../labels.ts";
import { awaitReady, firstOf, healthAddress } from "../ready.ts";
import { logs } from "./logs.ts";
import { destroy, instanceOf, type Records } from "./records.ts";
import { localise, readRecipe } from "./resolve.ts";

/** Each look reads a few files, and many starts may be in progress. */
const POLL_MS = { first: 10, longest: 200 };
/** The time from the shell's start to the record of its identity. */
const RECORD_MS = 5_000;
/** A child's exit code arrives a moment after its end. */
const EXIT_CODE_MS = 250;

type ProcessDeps = { records: Records; clock: Clock; nodePath: string };

/** Starts or adopts the process, then waits until it answers or ends. */
export async function deploy(host: ProcessDeps, spec: Spec, { signal, onLaunched, onAddresses, onHealthStatus }: DeployCall): Promise<Deployment> {
  const { records, clock } = host;
  const began = clock.monotonic();
  const { port, claim } = await startOrAdopt(host, spec, signal);
  try {
    onLaunched?.();
    const started = clock.monotonic();
    const address: Address | undefined = port === undefined ? undefined : { host: "127.0.0.1", port };
    const current = records.find(spec.service);
    const instance = current && instanceOf(current);
    // Its record exists before it starts: no other service here has its port.
    if (address) onAddresses?.([address], instance, true);
    await firstOf<void>(signal, (own) => [
      failAtEnd(host, spec, claim, own),
      awaitReady(spec, { address, proof: "accepted", health: healthAddress(spec, address?.host) }, { clock, signal: own, onHealthStatus }),
    ]);
    return { addresses: address ? [address] : [], instance, phases: { create: started - began, boot: clock.monotonic() - started } };
  } catch (error) {
    if (!leavesRunning({ signal })) await destroy(records, clock, spec.service, undefined, claim);
    throw error;
  }
}

/** Returns the port of the service, if its spec has one, and the claim of its instance. */
async function startOrAdopt(host: ProcessDeps, spec: Spec, signal: AbortSignal): Promise<{ port: number | undefined; claim: string | undefined }> {
  const { records, clock, nodePath } = host;
  const recipe = await readRecipe({ ref: spec.image, folder: spec.folder });
  signal.throwIfAborted();
  for (;;) {
    const port = spec.port === undefined ? undefined : await freePort(new Set(records.all().flatMap((one) => one.port ?? [])));
    const claim = randomUUID();
    const { service, labels, shutdownGraceSeconds } = spec;
    if (records.claim({ service, labels, port, shutdownGraceSeconds, boot: records.boot, claim })) {
      const env = { ...recipe.env, ...spec.env, ...(port === undefined ? {} : { PORT: String(port) }) };
      const files = { statPath: records.statPath(spec.service), logPath: records.logPath(spec.service) };
      try {
        await launch({ ...localise(recipe, nodePath), env, nodePath, ...files }, (pid, code) => records.setExit(spec.service, pid, code));
        // Without a signal: a process without a record could not be ended.
        await waitForRecord(host, spec.service);
        signal.throwIfAborted();
      } catch (error) {
        if (!leavesRunning({ signal })) await destroy(records, clock, spec.service, undefined, claim);
        throw error;
      }
      return { port, claim };
    }
    await waitForRecord(host, spec.service, signal);
    const holder = records.find(spec.service);
    if (holder) refuseForeignOwner(holder.labels, spec);
    if (holder?.running && holder.labels.generation === spec.labels.generation && (holder.port === undefined) === (spec.port === undefined))
      return { port: holder.port, claim: holder.claim };
    await destroy(records, clock, spec.service, signal);
  }
}

/** Waits until the record has the identity of its process, or is stale. */
async function waitForRecord({ records, clock }: ProcessDeps, service: string, signal?: AbortSignal): Promise<void> {
  const delays = createBackoff(POLL_MS.first, POLL_MS.longest);
  for (const end = clock.monotonic() + RECORD_MS; clock.monotonic() < end;) {
    const current = records.find(service);
    if (!current || current.process || current.boot !== records.boot) return;
    await clock.sleep(delays.next(), signal);
  }
}

/** Rejects when the process ends, or is replaced. */
async function failAtEnd({ records, clock }: ProcessDeps, spec: Spec, claim: string | undefined, signal: AbortSignal): Promise<never> {
  const own = () => {
    const current = records.find(spec.service);
    return current?.claim === claim ? current : undefined;
  };
  const delays = createBackoff(POLL_MS.first, POLL_MS.longest);
  while (own()?.running) await clock.sleep(delays.next(), signal);
  delays.reset();
  const endedAt = clock.monotonic();
  while (own()?.exitCode === undefined && clock.monotonic() - endedAt < EXIT_CODE_MS) await clock.sleep(delays.next(), signal);
  const code = own()?.exitCode;
  const lines = await logTail(logs(records, clock, spec.service, { tail: LOG_TAIL_LINES }, { signal }), signal);
  throw crashFault(spec, { code, outOfMemory: false }, lines);
}

const { O_APPEND, O_CREAT, O_TRUNC, O_WRONLY } = constants;

/**
 * Records its identity, then becomes the service (`exec` keeps pid and start time). So every service has a record of its process, whenever berth is
 * killed.
 */
const PREAMBLE = '{ read -r s < /proc/$$/stat; } 2>/dev/null || s=$$; printf "%s\\n" "$s" > "$0.tmp" && mv "$0.tmp" "$0" && exec "$@"';

const SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

type ProcessLaunch = { command: string[]; cwd: string; env: Record<string, string>; nodePath: string; statPath: string; logPath: string };

/** Starts a service in its own session and process group; it outlives berth. `onExit` is called if it ends before berth does. */
function launch({ command, cwd, env, nodePath, statPath, logPath }: ProcessLaunch, onExit: (pid: number, code: number) => void): Promise<void> {
  // Appending, so that a cut log has no hole.
  const log = openSync(logPath, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o600);
  // Without berth's own environment, which may hold secrets.
  const PATH = [dirname(nodePath), ...(env["PATH"] ? [env["PATH"]] : []), ...SYSTEM_PATH].join(delimiter);
  let child: ChildProcess;
  try {
    child = spawn("/bin/sh", ["-c", PREAMBLE, statPath, ...command], { cwd, env: { ...env, PATH }, detached: true, stdio: ["ignore", log, log] });
  } finally {
    closeSync(log);
  }
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("spawn", () => resolve());
    // As shells and Docker report it: 128 plus the signal's number.
    child.once("exit", (code, signal) => onExit(child.pid ?? 0, code ?? 128 + (signal ? os.signals[signal] : 0)));
    child.unref();
  });
}

/** Below the kernel's range for outgoing connections, none of which can then take the port meanwhile. */
const FIRST_PORT = 20_000;
const LAST_PORT = 32_767;
const TRIES = 100;

/** A port without a listener and without a record. */
async function freePort(taken: ReadonlySet<number>): Promise<number> {
  for (let tried = 0; tried < TRIES; tried++) {
    const port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT));
    if (!taken.has(port) && (await isFree(port))) return port;
  }
  throw advisedFault("NO_CAPACITY", `There is no free port between ${FIRST_PORT} and ${LAST_PORT}.`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    // On all addresses, as an app may listen.
    probe.listen({ port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
