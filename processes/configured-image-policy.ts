import { createPublicKey, X509Certificate } from "node:crypto";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { hasImageQuota } from "../conf/image-quota.ts";
import type { Settings } from "../conf/settings.ts";
import { createImagePolicy, type ImagePolicy, type ImagePolicyDeps, type RegistryImage } from "../control/lifecycle/image-policy.ts";
import type { DriverName, Registry } from "../drivers/driver.ts";
import { parseReference } from "../drivers/image.ts";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import { type Cosign, createCosign, type SignatureKey, type SignerIdentity, type SigstoreTrust } from "../lib/registry-client/cosign.ts";

type PolicyTools = { registry: Registry | undefined; driver: DriverName | "ask"; env: NodeJS.ProcessEnv; metrics: Metrics; clock: Clock; log: Log };

/** More make each check slow: every key and every identity is one run of cosign. */
const MOST_KEYS = 20;
const PROBE_MS = 10_000;

/** Whether a setting limits images. */
export function hasImageRules(settings: Pick<Settings, "image">): boolean {
  const { allow, keys, identities, maxMb, maxAgeDays } = settings.image;
  return allow.length > 0 || keys.length > 0 || identities.length > 0 || maxMb !== undefined || maxAgeDays !== undefined || hasImageQuota(settings);
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
  const { allow, keys, identities, maxMb, maxAgeDays, userCount, userMb, packageCount, packageMb } = settings.image;
  // A client of registries, which costs a server without rules nothing.
  const { placeOf, readImageConfig, rootOf } = await import("../drivers/image-config.ts");
  const cosign = configuredCosign(settings, { env, clock, folder: openCosignFolder(settings.data) });
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
    signatures: cosign && {
      signers: [...keys.map((path) => basename(path)), ...identities.map((one) => identityIn(one).identity)],
      setting: [...(keys.length > 0 ? ["BERTH_IMAGE_KEYS"] : []), ...(identities.length > 0 ? ["BERTH_IMAGE_IDENTITIES"] : [])].join(" or "),
      verify,
    },
    metrics,
    clock,
  });
}

/** Its runs have the registry's login there: what a control process left that was killed goes. The data folder has one at a time. */
function openCosignFolder(data: string): string {
  const folder = join(data, "cosign");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

/** Undefined if no signatures are needed. `folder`: default is the temporary one. Faults: SETTINGS_INVALID. */
export function configuredCosign(
  { image }: Pick<Settings, "image">,
  { env, clock, folder = tmpdir() }: Pick<PolicyTools, "env" | "clock"> & { folder?: string },
): Cosign | undefined {
  const { keys, identities, cosign: program } = image;
  if (keys.length === 0 && identities.length === 0) return undefined;
  if (identities.length > MOST_KEYS)
    throw new Fault("SETTINGS_INVALID", `BERTH_IMAGE_IDENTITIES names ${identities.length} identities; ${MOST_KEYS} are allowed.`);
  const keyless = identities.length === 0 ? undefined : { identities: identities.map(identityIn), trust: readTrust(image) };
  return createCosign({ program, keys: readKeys(keys), keyless, folder, env, clock });
}

/** An issuer has no `=` in its address, and an identity may. */
function identityIn(text: string): SignerIdentity {
  const at = text.indexOf("=");
  return { issuer: text.slice(0, at), identity: text.slice(at + 1) };
}

/** Faults: SETTINGS_INVALID. */
function readTrust({ sigstoreRoots, sigstoreLogKey, sigstoreCertificateLogKey }: Settings["image"]): SigstoreTrust {
  if (sigstoreRoots === undefined || sigstoreLogKey === undefined)
    throw new Fault(
      "SETTINGS_INVALID",
      "BERTH_IMAGE_IDENTITIES needs BERTH_IMAGE_SIGSTORE_ROOTS and BERTH_IMAGE_SIGSTORE_LOG_KEY: the certificates and the key by which signatures are verified.",
    );
  const certificates = readPem("BERTH_IMAGE_SIGSTORE_ROOTS", sigstoreRoots, "certificates", (pem) => {
    const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    if (blocks.length === 0) throw new Error("it has none");
    return blocks.map((block) => ({ block, isRoot: new X509Certificate(block).issuer === new X509Certificate(block).subject }));
  });
  const joined = (isRoot: boolean) =>
    certificates
      .filter((one) => one.isRoot === isRoot)
      .map(({ block }) => `${block}\n`)
      .join("");
  if (joined(true) === "")
    throw new Fault(
      "SETTINGS_INVALID",
      `BERTH_IMAGE_SIGSTORE_ROOTS names ${sigstoreRoots}, which has no root: add the certificate that signed itself.`,
    );
  return {
    roots: joined(true),
    intermediates: joined(false) || undefined,
    logKey: readPublicKey("BERTH_IMAGE_SIGSTORE_LOG_KEY", sigstoreLogKey),
    certificateLogKey: sigstoreCertificateLogKey === undefined ? undefined : readPublicKey("BERTH_IMAGE_SIGSTORE_CT_KEY", sigstoreCertificateLogKey),
  };
}

function readKeys(paths: readonly string[]): SignatureKey[] {
  if (paths.length > MOST_KEYS) throw new Fault("SETTINGS_INVALID", `BERTH_IMAGE_KEYS names ${paths.length} files; ${MOST_KEYS} are allowed.`);
  return paths.map((path) => ({ name: basename(path), pem: readPublicKey("BERTH_IMAGE_KEYS", path) }));
}

/** Faults: SETTINGS_INVALID. */
function readPublicKey(setting: string, path: string): string {
  return readPem(setting, path, "a public key", (pem) => {
    // A private key has a public one too; it does not belong on this machine.
    if (/PRIVATE KEY/.test(pem)) throw new Error("it is a private key");
    createPublicKey(pem);
    return pem;
  });
}

/** Faults: SETTINGS_INVALID. */
function readPem<R>(setting: string, path: string, what: string, parse: (pem: string) => R): R {
  try {
    return parse(readFileSync(path, "utf8"));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Fault("SETTINGS_INVALID", `${setting} names ${path}, which is no readable PEM file of ${what} (${why}).`, { cause });
  }
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
