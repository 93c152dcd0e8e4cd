import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { advisedFault } from "../faults.ts";
import type { DeployCall, ImageSource, Registry, ResolvedImage } from "../driver.ts";
import { askDistribution, pull } from "../engine/pull.ts";
import type { Engine } from "../engine/engine.ts";
import { described, localImage } from "../engine/images.ts";
import { parseReference, type Reference } from "../image.ts";

type Name = Extract<Reference, { kind: "name" }>;
type SwarmResolveDeps = { registry: Registry | undefined; log: Log };

/**
 * As `name@digest`, which every node can pull by itself; an image that was built on this engine and is in no registry by its id, which is then
 * started here. The engine has it afterwards: only so are its ports known. A tag is asked about at each call, without pulling what has not moved.
 * The engine's copy serves where the registry cannot be asked.
 */
export async function resolve(engine: Engine, { ref }: ImageSource, call: DeployCall, known: SwarmResolveDeps): Promise<ResolvedImage> {
  const { signal } = call;
  const named = parseReference(ref);
  if (named.kind === "id") {
    const local = await localImage(engine, ref, signal);
    if (local) return described(engine, local, signal);
    throw advisedFault("IMAGE_NOT_FOUND", `The manager's engine has no image ${ref}`);
  }
  if (named.registry === undefined && known.registry === undefined) return builtHere(engine, ref, named, call, known);
  try {
    const found = named.registry === undefined ? await known.registry?.resolve(ref, call) : undefined;
    if (found) return await pinned(engine, parseReference(found.reference) as Name, found.digest, call, known);
    if (named.registry === undefined) return await builtHere(engine, ref, named, call, known);
    return await pinned(engine, named, await digestOf(engine, named, call, known), call, known);
  } catch (error) {
    if (signal.aborted || !(error instanceof Fault) || error.code === "ENGINE_UNREACHABLE") throw error;
    for (const name of [...(known.registry?.fullNames(ref) ?? []), ref]) {
      const copy = await localImage(engine, name, signal);
      if (!copy) continue;
      known.log.warn({ ref, code: error.code, cause: error.message }, "The registry could not be asked; the engine's own copy is used.");
      return here(engine, parseReference(name) as Name, copy, call);
    }
    throw error;
  }
}

/** No registry that is set up has it: the engine's own, else from the engine's default registry. */
async function builtHere(engine: Engine, ref: string, named: Name, call: DeployCall, known: SwarmResolveDeps): Promise<ResolvedImage> {
  const local = await localImage(engine, ref, call.signal);
  if (local) return here(engine, named, local, call);
  return pinned(engine, named, await digestOf(engine, named, call, known), call, known);
}

const digestOf = async (engine: Engine, named: Name, call: DeployCall, { registry }: SwarmResolveDeps) =>
  named.digest ?? (await askDistribution(engine, named, registry, call));

/** The very image, on this engine too. */
async function pinned(engine: Engine, named: Name, digest: string, call: DeployCall, { registry }: SwarmResolveDeps): Promise<ResolvedImage> {
  const id = `${named.name}@${digest}`;
  const copy = (await localImage(engine, id, call.signal)) ?? (await pulled(engine, id, call, registry));
  return { ...(await described(engine, copy, call.signal, digest)), id, digest };
}

async function pulled(engine: Engine, id: string, call: DeployCall, registry: Registry | undefined) {
  await pull(engine, parseReference(id) as Name, call, { registry });
  const image = await localImage(engine, id, call.signal);
  if (!image) throw advisedFault("IMAGE_NOT_FOUND", `The engine pulled ${id}, but does not have it`);
  return image;
}

/** A copy of this engine, by what other nodes can find it by, if anything. */
async function here(engine: Engine, named: Name, copy: { RepoDigests?: string[] | undefined }, call: DeployCall): Promise<ResolvedImage> {
  const image = await described(engine, copy as Parameters<typeof described>[1], call.signal);
  const pin = copy.RepoDigests?.find((known) => known.startsWith(`${named.name}@`));
  return pin === undefined ? image : { ...image, id: pin, digest: pin.slice(pin.indexOf("@") + 1) };
}
