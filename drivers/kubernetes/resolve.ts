import { Fault } from "../../lib/fault.ts";
import { parseReference } from "../image.ts";
import type { Call, ImageSource, ResolvedImage } from "../driver.ts";
import { type ImageConfig, placeOf, readImageConfig } from "../image-config.ts";
import { withTimeout } from "../../lib/deadline.ts";
import type { KubernetesApi } from "./cluster.ts";
import type { KubernetesTools } from "./create.ts";
import { loginAt } from "./pull-secret.ts";

/** Beyond it the image's ports are left to its package. */
const ASK_MS = 20_000;

/**
 * A cluster has no images of its own that could be asked for. The registries that are set up know what a name points at; one of another registry is
 * asked for there. Each is named by its digest, so that what a node pulls, today or when a pod is moved, is what was validated; what cannot be
 * is not started in the hope that a node finds it. Faults: those of the registries, IMAGE_NOT_FOUND, IMAGE_REFERENCE_INVALID, PULL_DENIED.
 */
export async function resolve(cluster: KubernetesApi, { ref }: ImageSource, tools: KubernetesTools, { signal }: Call): Promise<ResolvedImage> {
  signal.throwIfAborted();
  const named = parseReference(ref);
  if (named.kind === "id")
    throw new Fault("IMAGE_NOT_FOUND", `${ref} is an image of some engine's own, which means nothing to a cluster. Name it as a registry does.`);
  const found = await tools.registry?.resolve(ref, { signal });
  if (found) {
    const place = placeOf(found.reference);
    const ports = await portsOf(cluster, { ...place, version: found.digest, trusted: true }, tools, signal);
    return { id: `${place.host}/${place.repository}@${found.digest}`, digest: found.digest, ...ports };
  }
  if (named.registry === undefined || (tools.registry?.fullNames(ref).length ?? 0) > 0) {
    throw new Fault("IMAGE_NOT_FOUND", `No registry that is set up has the image ${ref}. Push it to one, or set REGISTRY_URL.`);
  }
  const { digest, ...ports } = await ask(cluster, { ...placeOf(named.name), version: named.tag, trusted: false }, tools, signal);
  if (digest === undefined) throw new Fault("IMAGE_NOT_FOUND", `The registry ${named.registry} does not say which digest ${ref} has.`);
  return { id: `${named.name}@${digest}`, digest, ...ports };
}

type KubernetesImage = { host: string; repository: string; version: string; trusted: boolean };

async function ask(
  { clock }: KubernetesApi,
  image: KubernetesImage,
  { registry, auth, registryHosts }: KubernetesTools,
  signal: AbortSignal,
): Promise<ImageConfig> {
  const overdue = () => new Fault("REGISTRY_UNREACHABLE", `${image.host} did not answer within ${ASK_MS / 1_000} s.`);
  return withTimeout({ clock, ms: ASK_MS, overdue, signal }, async (own) =>
    readImageConfig({ ...image, clock, listed: registryHosts, login: await loginAt(image.host, auth, registry, { signal: own }), signal: own }),
  );
}

/** Unknown where the registry does not let us read them: that it has the image is known. */
async function portsOf(
  cluster: KubernetesApi,
  image: KubernetesImage,
  tools: KubernetesTools,
  signal: AbortSignal,
): Promise<Pick<ResolvedImage, "exposed" | "guessed" | "portsUnknown">> {
  try {
    const { exposed, guessed } = await ask(cluster, image, tools, signal);
    return { exposed, ...(guessed ? { guessed } : {}) };
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Fault)) throw error;
    tools.log.debug({ image: `${image.host}/${image.repository}`, code: error.code, reason: error.message }, "The image's ports could not be read.");
    return { exposed: [], portsUnknown: true };
  }
}
