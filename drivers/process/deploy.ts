import type { Clock } from "../../lib/clock.ts";
import { advisedFault } from "../faults.ts";
import type { Address, DeployCall, Deployment, Labels, Spec } from "../driver.ts";
import { crashFault } from "../crash-fault.ts";
import { awaitReady } from "../ready.ts";
import { destroy } from "./destroy.ts";
import { localise, readRecipe } from "./resolve.ts";
import { freePort, launch } from "./spawn.ts";
import { lastLog } from "./logs.ts";
import { instanceOf, type Records } from "./records.ts";
import { foreignOwnerOf } from "../labels.ts";

const LOOK_EVERY_MS = 10;
/** From the shell's start to its own record of itself; longer, and it never started. */
const RECORD_MS = 5_000;
/** A dead child's exit code reaches us a moment after its death. */
const EXIT_CODE_MS = 250;
const LAST_LINES = 20;

export type Host = { records: Records; clock: Clock; nodePath: string };

export async function deploy(host: Host, spec: Spec, { signal, onLaunched, onAddress }: DeployCall): Promise<Deployment> {
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
async function startOrAdopt(host: Host, spec: Spec, signal: AbortSignal): Promise<number | undefined> {
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
async function recorded({ records, clock }: Host, service: string, signal?: AbortSignal): Promise<void> {
  for (const end = clock.monotonic() + RECORD_MS; clock.monotonic() < end;) {
    const found = records.find(service);
    if (!found || found.process || found.boot !== records.boot) return;
    await clock.sleep(LOOK_EVERY_MS, signal);
  }
}

/** Resolves when the service is ready, rejects as soon as it has died. */
async function alive(host: Host, spec: Spec, address: Address | undefined, signal: AbortSignal): Promise<void> {
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

async function death({ records, clock }: Host, spec: Spec, signal: AbortSignal): Promise<never> {
  while (records.find(spec.service)?.running) await clock.sleep(LOOK_EVERY_MS, signal);
  const ended = clock.monotonic();
  while (records.find(spec.service)?.exitCode === undefined && clock.monotonic() - ended < EXIT_CODE_MS) await clock.sleep(LOOK_EVERY_MS, signal);
  const code = records.find(spec.service)?.exitCode;
  const lines = await lastLog(records, clock, spec.service, LAST_LINES, signal);
  throw crashFault(spec, { code, outOfMemory: false }, lines);
}
