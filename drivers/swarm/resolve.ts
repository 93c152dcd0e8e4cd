import type { ImageInspectInfo } from "dockerode";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { DeployCall, ImageSource, Registry, ResolvedImage } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { describeImage, findLocalCopy, localImage, pullAndInspect, queryDigest } from "../engine/images.ts";
import { advisedFault } from "../faults.ts";
import { parseReference, type Reference } from "../image.ts";

type Name = Extract<Reference, { kind: "name" }>;
type SwarmResolveDeps = { registry: Registry | undefined; log: Log };

/**
 * Resolves to `name@digest`, which every node can pull by itself. An image that was built on this engine and is in no registry has its id, and starts on
 * this engine. The engine has the image afterwards, because only then its ports are known. Each call reads the digest of a tag, and pulls only if it has
 * moved. The engine's copy is used while the registry fails.
 */
export async function resolve(engine: Engine, { ref }: ImageSource, call: DeployCall, deps: SwarmResolveDeps): Promise<ResolvedImage> {
  const { signal } = call;
  const { registry } = deps;
  const named = parseReference(ref);
  if (named.kind === "id") {
    const local = await localImage(engine, ref, signal);
    if (local) return describeImage(engine, local, signal);
    throw advisedFault("IMAGE_NOT_FOUND", `The manager's engine has no image ${ref}`);
  }
  if (named.registry === undefined && registry === undefined) return resolveLocal(engine, ref, named, call, registry);
  try {
    const resolved = named.registry === undefined ? await registry?.resolve(ref, call) : undefined;
    if (resolved) return await pin(engine, parseReference(resolved.reference) as Name, resolved.digest, call, registry);
    if (named.registry === undefined) return await resolveLocal(engine, ref, named, call, registry);
    return await pin(engine, named, await digestOf(engine, named, call, registry), call, registry);
  } catch (error) {
    if (signal.aborted || !(error instanceof Fault) || error.code === "ENGINE_UNREACHABLE") throw error;
    const local = await findLocalCopy(engine, ref, registry, call);
    if (!local) throw error;
    deps.log.warn({ ref, code: error.code, cause: error.message }, "registry failed, using the engine's own copy");
    return describeCopy(engine, parseReference(local.name) as Name, local.copy, call);
  }
}

/** No configured registry has the image: it is the engine's own, else one of the engine's default registry. */
async function resolveLocal(engine: Engine, ref: string, named: Name, call: DeployCall, registry: Registry | undefined): Promise<ResolvedImage> {
  const local = await localImage(engine, ref, call.signal);
  if (local) return describeCopy(engine, named, local, call);
  return pin(engine, named, await digestOf(engine, named, call, registry), call, registry);
}

async function digestOf(engine: Engine, named: Name, call: DeployCall, registry: Registry | undefined): Promise<string> {
  return named.digest ?? (await queryDigest(engine, named, registry, call));
}

/** Exactly this image, on this engine too. */
async function pin(engine: Engine, named: Name, digest: string, call: DeployCall, registry: Registry | undefined): Promise<ResolvedImage> {
  const id = `${named.name}@${digest}`;
  const copy = (await localImage(engine, id, call.signal)) ?? (await pullAndInspect(engine, id, call, { registry }));
  return { ...(await describeImage(engine, copy, call.signal, digest)), id, digest };
}

/** A copy of this engine, with its name and digest in a registry if it has them. */
async function describeCopy(engine: Engine, named: Name, copy: ImageInspectInfo, call: DeployCall): Promise<ResolvedImage> {
  const image = await describeImage(engine, copy, call.signal);
  const pinned = copy.RepoDigests?.find((name) => name.startsWith(`${named.name}@`));
  return pinned === undefined ? image : { ...image, id: pinned, digest: pinned.slice(pinned.indexOf("@") + 1) };
}
