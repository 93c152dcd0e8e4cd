import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { DeployCall, ImageSource, Registry, ResolvedImage } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { describeImage, findLocalCopy, localImage, pullAndInspect, PULL_IDLE_MS } from "../engine/images.ts";
import { advisedFault } from "../faults.ts";
import { parseReference } from "../image.ts";

/** With a local copy, a registry that is silent for this time counts as unreachable. */
const REFRESH_IDLE_MS = 15_000;

type DockerResolveDeps = { log: Log; registry: Registry | undefined };

/**
 * Looks up a name without a registry in the configured registries. If none has it, it is the engine's own image, or one of the engine's default registry. A
 * tag may have moved since its pull, so it is pulled again unless the registry reports the same digest. The engine's copy is used while the registry fails.
 */
export async function resolve(engine: Engine, { ref }: ImageSource, call: DeployCall, deps: DockerResolveDeps): Promise<ResolvedImage> {
  const { registry, log } = deps;
  const named = parseReference(ref);
  if (named.kind === "id") {
    const local = await localImage(engine, ref, call.signal);
    if (local) return describeImage(engine, local, call.signal);
    throw advisedFault("IMAGE_NOT_FOUND", `The engine has no image ${ref}.`);
  }
  if (named.registry !== undefined || registry === undefined) return refresh(engine, ref, call, deps);
  let resolved: Awaited<ReturnType<Registry["resolve"]>>;
  try {
    resolved = await registry.resolve(ref, call);
  } catch (error) {
    if (call.signal.aborted || !(error instanceof Fault)) throw error;
    const local = await findLocalCopy(engine, ref, registry, call);
    if (!local) throw error;
    log.warn({ ref, code: error.code, cause: error.message }, "registry failed, using the engine's own copy");
    return describeImage(engine, local.copy, call.signal);
  }
  return refresh(engine, resolved?.reference ?? ref, call, deps, resolved?.digest);
}

/** Pulls the image unless the engine's copy is current. `digest` is the current digest of the tag, if known. */
async function refresh(engine: Engine, ref: string, call: DeployCall, { log, registry }: DockerResolveDeps, digest?: string): Promise<ResolvedImage> {
  const named = parseReference(ref);
  const local = await localImage(engine, ref, call.signal);
  const movable = named.kind === "name" && named.digest === undefined && named.registry !== undefined;
  const same = digest !== undefined && local?.RepoDigests?.some((name) => name.endsWith(`@${digest}`));
  if (local && (!movable || same)) return describeImage(engine, local, call.signal, digest);
  try {
    const pulled = await pullAndInspect(engine, ref, call, { registry, idleMs: local ? REFRESH_IDLE_MS : PULL_IDLE_MS });
    return await describeImage(engine, pulled, call.signal, digest);
  } catch (error) {
    if (!local || call.signal.aborted || !(error instanceof Fault) || error.code === "ENGINE_UNREACHABLE") throw error;
    log.warn({ ref, code: error.code, cause: error.message }, "pull failed, using the engine's own copy");
    return describeImage(engine, local, call.signal);
  }
}
