import { Fault } from "../../lib/fault.ts";
import type { Call, ImageSource, ResolvedImage } from "../driver.ts";
import { type ImageConfig, placeOf, readImageConfig } from "../image-config.ts";
import { parseReference } from "../image.ts";

import type { KubernetesApi } from "./cluster.ts";
import type { KubernetesTools } from "./create.ts";
import { loginAt } from "./pull-secret.ts";

/**
 * A cluster has no images of its own. The configured registries resolve a name; the image of another registry is resolved there. The result always has a
 * digest, so that a node pulls what was validated, now and after a move of the pod. Faults: those of the registries, IMAGE_NOT_FOUND,
 * IMAGE_REFERENCE_INVALID, PULL_DENIED.
 */
export async function resolve(cluster: KubernetesApi, { ref }: ImageSource, tools: KubernetesTools, { signal }: Call): Promise<ResolvedImage> {
  signal.throwIfAborted();
  const named = parseReference(ref);
  if (named.kind === "id")
    throw new Fault("IMAGE_NOT_FOUND", `${ref} is the id of an image on one engine, and nodes pull from registries. Give its name in a registry.`);
  const resolved = await tools.registry?.resolve(ref, { signal });
  if (resolved) {
    const { reference, digest } = resolved;
    const place = placeOf(reference);
    const findings = await findingsOf(cluster, { ...place, version: digest, trusted: true }, tools, signal);
    return { id: `${place.host}/${place.repository}@${digest}`, digest, ...findings };
  }
  if (named.registry === undefined || (tools.registry?.fullNames(ref).length ?? 0) > 0) {
    throw new Fault("IMAGE_NOT_FOUND", `No configured registry has the image ${ref}. Push it to one, or set REGISTRY_URL.`);
  }
  const { digest, ...findings } = await readConfig(cluster, { ...placeOf(named.name), version: named.tag, trusted: false }, tools, signal);
  if (digest === undefined) throw new Fault("IMAGE_NOT_FOUND", `The registry ${named.registry} does not say which digest ${ref} has.`);
  return { id: `${named.name}@${digest}`, digest, ...findings };
}

type KubernetesImage = { host: string; repository: string; version: string; trusted: boolean };

function readConfig(
  { clock }: KubernetesApi,
  image: KubernetesImage,
  { registry, auth, registryHosts }: KubernetesTools,
  signal: AbortSignal,
): Promise<ImageConfig> {
  return readImageConfig({ ...image, clock, listed: registryHosts, login: (call) => loginAt(image.host, auth, registry, call), signal });
}

/** Unknown if the registry does not let berth read them. */
async function findingsOf(
  cluster: KubernetesApi,
  image: KubernetesImage,
  tools: KubernetesTools,
  signal: AbortSignal,
): Promise<Omit<ResolvedImage, "id" | "digest">> {
  try {
    const { digest: _, ...findings } = await readConfig(cluster, image, tools, signal);
    return findings;
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Fault)) throw error;
    tools.log.debug({ image: `${image.host}/${image.repository}`, code: error.code, reason: error.message }, "image ports unreadable");
    return { exposed: [], portsUnknown: true, command: [] };
  }
}
