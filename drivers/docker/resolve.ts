import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { advisedFault } from "../faults.ts";
import type { DeployCall, ImageSource, Registry, ResolvedImage } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { described, localImage } from "../engine/images.ts";
import { pull, PULL_IDLE_MS } from "../engine/pull.ts";
import { parseReference, type Reference } from "../image.ts";

/** With a copy at hand, a registry that says nothing for this long is taken for away. */
const REFRESH_IDLE_MS = 15_000;

type DockerResolveDeps = { log: Log; registry: Registry | undefined };
type Name = Extract<Reference, { kind: "name" }>;

/**
 * A name without a registry is looked for in those that are set up; only where none has it, it is the engine's own image (built on it), else one
 * of the engine's default registry. A tag of a registry may have moved since it was pulled: it is pulled again, unless the registry says that it
 * has not. The engine's copy serves where asking or pulling fails.
 */
export async function resolve(engine: Engine, { ref }: ImageSource, call: DeployCall, known: DockerResolveDeps): Promise<ResolvedImage> {
  const named = parseReference(ref);
  if (named.kind === "id") {
    const local = await localImage(engine, ref, call.signal);
    if (local) return described(engine, local, call.signal);
    throw advisedFault("IMAGE_NOT_FOUND", `The engine has no image ${ref}.`);
  }
  if (named.registry !== undefined || known.registry === undefined) return pulled(engine, ref, named, call, known);
  const found = await lookUp(engine, ref, known.registry, call, known.log);
  if (found === undefined) return pulled(engine, ref, named, call, known);
  if ("copy" in found) return described(engine, found.copy, call.signal);
  return pulled(engine, found.reference, parseReference(found.reference) as Name, call, known, found.digest);
}

/** Where the registries fail, a copy that was pulled from one of them before, or was built here. */
async function lookUp(engine: Engine, ref: string, registry: Registry, call: DeployCall, log: Log) {
  try {
    return await registry.resolve(ref, call);
  } catch (error) {
    if (call.signal.aborted || !(error instanceof Fault)) throw error;
    for (const name of [...registry.fullNames(ref), ref]) {
      const copy = await localImage(engine, name, call.signal);
      if (!copy) continue;
      log.warn({ ref, code: error.code, cause: error.message }, "The registry could not be asked; the engine's own copy is used.");
      return { copy };
    }
    throw error;
  }
}

/** With `digest` it is known what the tag points at now. */
async function pulled(
  engine: Engine,
  ref: string,
  named: Name,
  call: DeployCall,
  { log, registry }: DockerResolveDeps,
  digest?: string,
): Promise<ResolvedImage> {
  const local = await localImage(engine, ref, call.signal);
  const movable = named.digest === undefined && named.registry !== undefined;
  const same = digest !== undefined && local?.RepoDigests?.some((known) => known.endsWith(`@${digest}`));
  if (local && (!movable || same)) return described(engine, local, call.signal, digest);
  try {
    await pull(engine, named, call, { registry, idleMs: local ? REFRESH_IDLE_MS : PULL_IDLE_MS });
  } catch (error) {
    if (!local || call.signal.aborted || !(error instanceof Fault) || error.code === "ENGINE_UNREACHABLE") throw error;
    log.warn({ ref, code: error.code, cause: error.message }, "Could not ask the registry again; the engine's own copy is used.");
    return described(engine, local, call.signal);
  }
  const image = await localImage(engine, ref, call.signal);
  if (!image) throw advisedFault("IMAGE_NOT_FOUND", `The engine pulled ${ref}, but does not have it.`);
  return described(engine, image, call.signal, digest);
}
