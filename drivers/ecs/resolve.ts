import { Fault } from "../../lib/fault.ts";
import { advisedFault } from "../faults.ts";
import { parseReference } from "../image.ts";
import type { Call, ImageSource, ResolvedImage } from "../driver.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { type ImageConfig, placeOf, readImageConfig } from "../image-config.ts";
import type { EcsSite } from "./site.ts";

/** Beyond it the image's ports are left to its package. */
const ASK_MS = 20_000;

/**
 * The registries that are set up know what a name points at, ECR first. A full name of another registry is left to ECS, which pulls it by itself, unless
 * that registry says that it has no such image. The ports that it exposes are read where the registry lets us; otherwise the package names its port.
 */
export async function resolve(site: EcsSite, { ref }: ImageSource, { signal }: Call): Promise<ResolvedImage> {
  const named = parseReference(ref);
  if (named.kind === "id") throw advisedFault("IMAGE_NOT_FOUND", `${ref} is an image of some engine's own; ECS pulls images by their names`);
  const found = await site.registry?.resolve(ref, { signal });
  if (found) {
    const { host, repository } = placeOf(found.reference);
    const config = await configOf(site, { host, repository, version: found.digest, trusted: true }, signal);
    return { id: `${host}/${repository}@${found.digest}`, digest: found.digest, ...portsOf(config) };
  }
  if (named.registry === undefined || (site.registry?.fullNames(ref).length ?? 0) > 0) {
    throw advisedFault("IMAGE_NOT_FOUND", `No registry that is set up has the image ${ref}`);
  }
  const { host, repository } = placeOf(named.name);
  const config = await configOf(site, { host, repository, version: named.tag, trusted: false }, signal);
  if (config === "missing") throw advisedFault("IMAGE_NOT_FOUND", `The registry ${host} has no image ${ref}`);
  const digest = named.digest ?? config?.digest;
  return {
    id: digest === undefined ? `${named.name}:${named.tag}` : `${named.name}@${digest}`,
    ...(digest === undefined ? {} : { digest }),
    ...portsOf(config),
  };
}

/** Undefined where the registry cannot be asked by us; that says nothing of whether ECS can. */
async function configOf(
  site: EcsSite,
  image: { host: string; repository: string; version: string; trusted: boolean },
  signal: AbortSignal,
): Promise<ImageConfig | "missing" | undefined> {
  const overdue = () => advisedFault("REGISTRY_UNREACHABLE", `${image.host} did not answer within ${ASK_MS / 1_000} s`);
  try {
    return await withTimeout({ clock: site.clock, ms: ASK_MS, overdue, signal }, async (own) =>
      readImageConfig({
        ...image,
        clock: site.clock,
        listed: site.registryHosts,
        login: await site.registry?.login(image.host, { signal: own }),
        signal: own,
      }),
    );
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Fault)) throw error;
    site.log.debug({ image: `${image.host}/${image.repository}`, code: error.code, reason: error.message }, "The image's ports could not be read.");
    return error.code === "IMAGE_NOT_FOUND" ? "missing" : undefined;
  }
}

function portsOf(config: ImageConfig | "missing" | undefined): Pick<ResolvedImage, "exposed" | "guessed"> {
  if (config === undefined || config === "missing") return { exposed: [] };
  return { exposed: config.exposed, ...(config.guessed ? { guessed: true } : {}) };
}
