import type { ImageInspectInfo } from "dockerode";
import { Fault } from "../../fault.ts";
import type { Log } from "../../log.ts";
import type { DeployCall, ImageSource, ResolvedImage } from "../driver.ts";
import type { Engine } from "./engine.ts";
import { exposedPorts } from "./exposed.ts";
import { answered } from "./faults.ts";
import { pull, PULL_IDLE_MS } from "./pull.ts";
import { readReference } from "./reference.ts";

/** With a copy at hand, a registry that says nothing for this long is taken for away. */
const REFRESH_IDLE_MS = 15_000;

/**
 * The engine's own image first. A tag of a registry that the reference names itself may have moved since, so it is pulled
 * again, and the copy serves where that fails; without a named registry the copy is what was meant (built on this engine).
 */
export async function resolve(engine: Engine, { ref }: ImageSource, call: DeployCall, log: Log): Promise<ResolvedImage> {
  const named = readReference(ref);
  const local = await localImage(engine, ref, call.signal);
  if (named.kind === "id") {
    if (local) return described(engine, local, call.signal);
    throw new Fault("IMAGE_NOT_FOUND", `The engine has no image ${ref}.`);
  }
  const movable = named.digest === undefined && named.registry !== undefined;
  if (local && !movable) return described(engine, local, call.signal);
  try {
    await pull(engine, named, call, local ? REFRESH_IDLE_MS : PULL_IDLE_MS);
  } catch (error) {
    if (!local || call.signal.aborted || !(error instanceof Fault) || error.code === "ENGINE_UNREACHABLE") throw error;
    log.warn({ ref, code: error.code, cause: error.message }, "Could not ask the registry again; the engine's own copy is used.");
    return described(engine, local, call.signal);
  }
  const pulled = await localImage(engine, ref, call.signal);
  if (!pulled) throw new Fault("IMAGE_NOT_FOUND", `The engine pulled ${ref}, but does not have it.`);
  return described(engine, pulled, call.signal);
}

export async function localImage(engine: Engine, ref: string, signal: AbortSignal): Promise<ImageInspectInfo | undefined> {
  try {
    return await engine.call({ doing: `Looking for ${ref}`, signal }, (docker) => docker.getImage(ref).inspect());
  } catch (error) {
    if (answered(error, 404)) return undefined;
    throw error;
  }
}

async function described(engine: Engine, image: ImageInspectInfo, signal: AbortSignal): Promise<ResolvedImage> {
  const configured = Object.keys(image.Config?.ExposedPorts ?? {});
  const digest = image.RepoDigests?.[0]?.split("@")[1];
  return {
    id: image.Id,
    ...(digest === undefined ? {} : { digest }),
    ...exposedPorts(configured, configured.length > 1 ? await history(engine, image.Id, signal) : []),
  };
}

/** The commands that made the image's layers, oldest first. */
async function history(engine: Engine, id: string, signal: AbortSignal): Promise<string[]> {
  const layers = await engine.call({ doing: `Reading the history of ${id}`, signal }, (docker) => docker.getImage(id).history());
  return (layers as { CreatedBy?: string }[]).map(({ CreatedBy }) => CreatedBy ?? "").toReversed();
}
