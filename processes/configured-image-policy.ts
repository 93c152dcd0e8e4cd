import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import type { Settings } from "../conf/settings.ts";
import { createImagePolicy, type ImagePolicy, type ImagePolicyDeps, type RegistryImage } from "../control/lifecycle/image-policy.ts";
import type { DriverName, Registry } from "../drivers/driver.ts";
import { parseReference } from "../drivers/image.ts";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import { type Cosign, createCosign, type SignatureKey } from "../lib/registry-client/cosign.ts";

type PolicyTools = { registry: Registry | undefined; driver: DriverName | "ask"; env: NodeJS.ProcessEnv; metrics: Metrics; clock: Clock; log: Log };

/** More make each check slow: every key is one run of cosign. */
const MOST_KEYS = 20;
const PROBE_MS = 10_000;

/** Whether a setting limits images. */
export function hasImageRules({
  image: { allow, keys, maxMb, maxAgeDays, userCount, userMb, packageCount, packageMb },
}: Pick<Settings, "image">): boolean {
  const limits = [maxMb, maxAgeDays, userCount, userMb, packageCount, packageMb];
  return allow.length > 0 || keys.length > 0 || limits.some((limit) => limit !== undefined);
}

/**
 * The rules for images in the settings; undefined if there are none. If cosign is needed and not there, it says so, and every image is refused until it is: a
 * server that needs signatures must not run without. Faults: SETTINGS_INVALID for a key that cannot be read.
 */
export async function openImagePolicy(
  settings: Settings,
  { registry, driver, env, metrics, clock, log }: PolicyTools,
): Promise<ImagePolicy | undefined> {
  if (!hasImageRules(settings)) return undefined;
  if (driver === "process") {
    log.warn({}, "BERTH_IMAGE_* has no effect: the driver process runs files of packages, and no images");
    return undefined;
  }
  const { allow, keys, maxMb, maxAgeDays, userCount, userMb, packageCount, packageMb } = settings.image;
  // A client of registries, which costs a server without rules nothing.
  const { placeOf, readImageConfig, rootOf } = await import("../drivers/image-config.ts");
  const cosign = configuredCosign(settings, { env, clock });
  if (cosign) {
    await cosign.probe(AbortSignal.timeout(PROBE_MS)).catch((error: unknown) => {
      log.error({ reason: (error as Error).message }, "signatures of images cannot be verified, so no image is used until they can");
    });
  }
  const rules = { allow, maxMb, maxAgeDays, userImages: userCount, userMb, packageImages: packageCount, packageMb };
  const verify = async ({ host, repository, digest }: RegistryImage, signal: AbortSignal) => {
    const login = await registry?.login(host, { signal });
    return (cosign as Cosign).verify({ name: `${host}/${repository}@${digest}`, plainHttp: rootOf(host).protocol === "http:", login }, signal);
  };
  return createImagePolicy({
    rules,
    read: imageReader(settings, { registry, clock, placeOf, readImageConfig }),
    signatures: cosign && { keys: keys.map((path) => basename(path)), verify },
    metrics,
    clock,
  });
}

/** Undefined if no signatures are needed. Faults: SETTINGS_INVALID. */
export function configuredCosign(
  { image: { keys, cosign } }: Pick<Settings, "image">,
  { env, clock }: Pick<PolicyTools, "env" | "clock">,
): Cosign | undefined {
  return keys.length === 0 ? undefined : createCosign({ program: cosign, keys: readKeys(keys), env, clock });
}

function readKeys(paths: readonly string[]): SignatureKey[] {
  if (paths.length > MOST_KEYS) throw new Fault("SETTINGS_INVALID", `BERTH_IMAGE_KEYS names ${paths.length} files; ${MOST_KEYS} are allowed.`);
  return paths.map((path) => {
    try {
      const pem = readFileSync(path, "utf8");
      // A private key has a public one too; it does not belong on this machine.
      if (/PRIVATE KEY/.test(pem)) throw new Error("it is a private key");
      createPublicKey(pem);
      return { name: basename(path), pem };
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new Fault("SETTINGS_INVALID", `BERTH_IMAGE_KEYS names ${path}, which is no readable PEM file of a public key (${why}).`, { cause });
    }
  });
}

/** The host and repository of Docker Hub's images that a package names without a registry. */
function onHub(repository: string): { host: string; repository: string } {
  return { host: "docker.io", repository: repository.includes("/") ? repository : `library/${repository}` };
}

type ReaderDeps = Pick<PolicyTools, "registry" | "clock"> & Pick<typeof import("../drivers/image-config.ts"), "placeOf" | "readImageConfig">;

/** From the configured registries first; else from the registry of the name, by the rules for registries that a package's author names, and without a login. */
function imageReader(settings: Settings, { registry, clock, placeOf, readImageConfig }: ReaderDeps): ImagePolicyDeps["read"] {
  return async (ref, digest, signal) => {
    const named = parseReference(ref);
    if (named.kind === "id") return undefined;
    const wanted = digest === undefined ? ref : `${named.name}@${digest}`;
    const resolved = await registry?.resolve(wanted, { signal });
    const isForeign = resolved === undefined;
    // A short name that no registry has is the engine's own image, unless the engine knows its digest: then it is Docker Hub's.
    if (isForeign && (named.registry === undefined ? digest === undefined : (registry?.fullNames(ref).length ?? 0) > 0)) return undefined;
    const place = resolved ? placeOf(resolved.reference) : named.registry === undefined ? onHub(named.name) : placeOf(named.name);
    const image = await readImageConfig({
      ...place,
      version: resolved?.digest ?? digest ?? named.tag,
      trusted: !isForeign,
      listed: settings.registry.redirectHosts,
      login: (call) => registry?.login(place.host, call),
      clock,
      signal,
    });
    const own = image.digest ?? resolved?.digest ?? digest;
    if (own === undefined || !/^sha256:[0-9a-f]{64}$/.test(own))
      throw new Fault("REGISTRY_UNREACHABLE", `The registry ${place.host} does not say which digest ${wanted} has.`);
    if (digest !== undefined && own !== digest)
      throw new Fault("REGISTRY_UNREACHABLE", `The registry ${place.host} has another image under ${wanted}.`);
    return { ...place, isConfigured: !isForeign, digest: own, sizeBytes: image.sizeBytes, createdOn: image.createdOn, platform: image.platform };
  };
}
