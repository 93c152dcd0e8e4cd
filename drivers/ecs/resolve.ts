import { Fault } from "../../lib/fault.ts";
import type { Call, ImageSource, ResolvedImage } from "../driver.ts";
import { advisedFault } from "../faults.ts";
import { parseReference } from "../image.ts";

import { type ImageConfig, placeOf, readImageConfig } from "../image-config.ts";
import type { EcsSite } from "./site.ts";

/**
 * The configured registries resolve a name, ECR first. ECS itself pulls an image of another registry, unless that registry reports that it has none. The
 * configuration is read if the registry permits it; otherwise the package names its port.
 */
export async function resolve(site: EcsSite, { ref }: ImageSource, { signal }: Call): Promise<ResolvedImage> {
  const named = parseReference(ref);
  if (named.kind === "id") throw advisedFault("IMAGE_NOT_FOUND", `${ref} is the id of an image on one engine, and ECS pulls images by their names`);
  const resolved = await site.registry?.resolve(ref, { signal });
  if (resolved) {
    const { host, repository } = placeOf(resolved.reference);
    const config = await configOf(site, { host, repository, version: resolved.digest, trusted: true }, signal);
    return { id: `${host}/${repository}@${resolved.digest}`, digest: resolved.digest, ...findingsOf(config) };
  }
  if (named.registry === undefined || (site.registry?.fullNames(ref).length ?? 0) > 0) {
    throw advisedFault("IMAGE_NOT_FOUND", `No configured registry has the image ${ref}`);
  }
  const { host, repository } = placeOf(named.name);
  const config = await configOf(site, { host, repository, version: named.tag, trusted: false }, signal);
  if (config === "missing") throw advisedFault("IMAGE_NOT_FOUND", `The registry ${host} has no image ${ref}`);
  const digest = named.digest ?? config?.digest;
  return {
    id: digest === undefined ? `${named.name}:${named.tag}` : `${named.name}@${digest}`,
    ...(digest === undefined ? {} : { digest }),
    ...findingsOf(config),
  };
}

/** Undefined if berth cannot read the registry; ECS may be able to. */
async function configOf(
  site: EcsSite,
  image: { host: string; repository: string; version: string; trusted: boolean },
  signal: AbortSignal,
): Promise<ImageConfig | "missing" | undefined> {
  const { clock, registry, registryHosts: listed } = site;
  try {
    return await readImageConfig({ ...image, clock, listed, login: (call) => registry?.login(image.host, call), signal });
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Fault)) throw error;
    site.log.debug({ image: `${image.host}/${image.repository}`, code: error.code, reason: error.message }, "image ports unreadable");
    return error.code === "IMAGE_NOT_FOUND" ? "missing" : undefined;
  }
}

function findingsOf(config: ImageConfig | "missing" | undefined): Omit<ResolvedImage, "id" | "digest"> {
  if (config === undefined || config === "missing") return { exposed: [], command: [] };
  const { digest: _, ...findings } = config;
  return findings;
}
