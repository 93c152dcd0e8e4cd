import { Fault } from "../../fault.ts";
import { readReference } from "../docker/reference.ts";
import type { DeployCall, ImageSource, Registry, ResolvedImage } from "../driver.ts";

/**
 * A cluster has no images of its own that could be asked for, so the registries that are set up decide, and name the image by its digest: what a node
 * pulls, today or when it is moved, is what was validated. They do not tell which ports it exposes. What none of them knows is not
 * started in the hope that a node finds it: that would fail later, and less clearly. Faults: those of the registries, IMAGE_NOT_FOUND.
 */
export async function resolve({ ref }: ImageSource, registry: Registry | undefined, call: DeployCall): Promise<ResolvedImage> {
  call.signal.throwIfAborted();
  const named = readReference(ref);
  const found = named.kind === "id" ? undefined : await registry?.resolve(ref, call);
  if (found) return { id: pinned(found), digest: found.digest, exposed: [], portsUnknown: true };
  const where = named.kind === "name" && named.registry !== undefined ? named.registry : undefined;
  const advice =
    named.kind === "id"
      ? "it is an engine's own id, which means nothing to a cluster"
      : where === undefined
        ? "none of the registries that are set up has it; push it to one, or set REGISTRY_URL"
        : `${where} does not have it, or is not set up here (REGISTRY_URL)`;
  throw new Fault("IMAGE_NOT_FOUND", `The image ${ref} was not found: ${advice}.`);
}

function pinned({ reference, digest }: { reference: string; digest: string }): string {
  const read = readReference(reference);
  return read.kind === "name" ? `${read.name}@${digest}` : reference;
}
