import type { Clock } from "../../lib/clock.ts";
import { advisedFault } from "../faults.ts";
import type { DeployCall, Registry, Call } from "../driver.ts";
import type { Reference } from "../image.ts";
import type { Engine } from "./engine.ts";
import { engineFault } from "./faults.ts";
import { jsonLines } from "../../lib/split-lines.ts";

/** The engine is silent for this long only when the registry is, or the disk. */
export const PULL_IDLE_MS = 120_000;
const TELL_EVERY_MS = 1_000;

export type PullOptions = { registry?: Registry | undefined; idleMs?: number };

type PullLine = {
  id?: string;
  status?: string;
  error?: string;
  errorDetail?: { message?: string };
  progressDetail?: { current?: number; total?: number };
};

/**
 * Has the engine pull, with what the registry wants to be signed in to with; returns when the image is there. `idleMs` bounds each silence, not
 * the whole, which may take minutes. Faults: IMAGE_NOT_FOUND, PULL_DENIED, IMAGE_REFERENCE_INVALID, NO_CAPACITY, ENGINE_UNREACHABLE,
 * ENGINE_FAILED, UPSTREAM_CREDENTIAL_FAILED.
 */
export async function pull(
  engine: Engine,
  ref: Extract<Reference, { kind: "name" }>,
  call: DeployCall,
  { registry, idleMs = PULL_IDLE_MS }: PullOptions = {},
): Promise<void> {
  const login = ref.registry === undefined ? undefined : await registry?.login(ref.registry, call);
  const doing = `Pulling ${ref.name}${ref.digest ? "@" : ":"}${ref.tag} ${askedAs(login)}`;
  const quiet = silence(engine.clock, idleMs, () => advisedFault("ENGINE_FAILED", `${doing}: no progress for ${idleMs / 1000} s.`), call.signal);
  const layers = new Map<string, { done: number; total: number }>();
  const tell = () => {
    let done = 0;
    let total = 0;
    for (const layer of layers.values()) {
      done += layer.done;
      total += layer.total;
    }
    call.onPull?.({ done, total });
  };
  const stopTelling = every(engine.clock, TELL_EVERY_MS, tell);
  try {
    const options = { fromImage: ref.name, tag: ref.tag, abortSignal: quiet.signal };
    const stream = (await engine.docker.createImage(login && { ...login, serveraddress: ref.registry }, options)) as AsyncIterable<Buffer>;
    for await (const line of jsonLines<PullLine>(stream)) {
      quiet.heard();
      if (line.error !== undefined) throw new Error(line.errorDetail?.message ?? line.error);
      const { current, total } = line.progressDetail ?? {};
      if (line.id !== undefined && line.status === "Downloading") layers.set(line.id, { done: current ?? 0, total: total ?? 0 });
      const layer = line.id === undefined ? undefined : layers.get(line.id);
      if (layer && line.status === "Download complete") layer.done = layer.total;
    }
    tell();
  } catch (error) {
    if (call.signal.aborted) throw call.signal.reason;
    throw quiet.signal.aborted ? quiet.signal.reason : engineFault(error, "pull", doing);
  } finally {
    stopTelling();
    quiet.end();
  }
}

/** Whose credentials it is done with, as part of the sentence that says what is done. */
export function askedAs(login: { username: string } | undefined): string {
  return login === undefined ? "without credentials" : `as the user "${login.username}"`;
}

/** A signal that aborts after `ms` without `heard()`, or with the parent. */
function silence(clock: Clock, ms: number, reason: () => Error, parent: AbortSignal) {
  const own = new AbortController();
  const onParent = () => own.abort(parent.reason);
  const arm = () => clock.after(ms, () => own.abort(reason()));
  let cancel = arm();
  if (parent.aborted) onParent();
  parent.addEventListener("abort", onParent, { once: true });
  return {
    signal: own.signal,
    heard: () => {
      cancel();
      cancel = arm();
    },
    end: () => {
      cancel();
      parent.removeEventListener("abort", onParent);
    },
  };
}

function every(clock: Clock, ms: number, task: () => void): () => void {
  let cancel = clock.after(ms, again);
  function again() {
    task();
    cancel = clock.after(ms, again);
  }
  return () => cancel();
}

/**
 * What a tag points at now, asked of its registry by the engine (`GET /distribution/{name}/json`), which pulls nothing.
 * Faults: IMAGE_NOT_FOUND, PULL_DENIED, IMAGE_REFERENCE_INVALID, ENGINE_UNREACHABLE, ENGINE_FAILED, UPSTREAM_CREDENTIAL_FAILED.
 */
export async function askDistribution(
  engine: Engine,
  ref: Extract<Reference, { kind: "name" }>,
  registry: Registry | undefined,
  call: Call,
): Promise<string> {
  const full = `${ref.name}${ref.digest ? "@" : ":"}${ref.tag}`;
  const login = ref.registry === undefined ? undefined : await registry?.login(ref.registry, call);
  const doing = `Asking the registry for ${full} ${askedAs(login)}`;
  const authconfig = login && { ...login, serveraddress: ref.registry ?? "" };
  const answer = await engine.call({ doing, signal: call.signal, reading: "pull" }, (docker) =>
    docker.getImage(full).distribution(authconfig ? { authconfig } : undefined),
  );
  const digest = (answer as { Descriptor?: { digest?: string } }).Descriptor?.digest;
  if (digest === undefined) throw advisedFault("ENGINE_FAILED", `${doing}: the engine told no digest`);
  return digest;
}
