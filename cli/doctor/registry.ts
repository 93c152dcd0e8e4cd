import { randomBytes } from "node:crypto";
import { Fault } from "../../lib/fault.ts";
import { listenerUrl, localHost } from "../serve.ts";
import { reasonOf } from "../../lib/http-client.ts";
import { digestOf } from "../../lib/registry-client/digest.ts";
import { challengeIn } from "../../lib/registry-client/registry-login.ts";
import { sendRequest, type CheckRequest, requestDockerToken } from "./send-request.ts";
import { type CheckContext, type CheckResult, type CheckProblem, failure, warning } from "./check.ts";
import type { Settings } from "../../conf/settings.ts";
import { registryPlace, storageName } from "../../processes/distribution/registry-storage.ts";
import type { EcrApi } from "../../gateway/registry/upstream/ecr-api.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const OCTETS = "application/octet-stream";

/** Uses the registry proxy like docker: login, push and pull of a tiny image, which it then deletes if the registry allows that. */
export async function checkRegistry(chain: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const { settings, options, key, clock } = chain;
  const { registry, registryPort } = settings;
  if (registry.kind !== "embedded" && registry.url === undefined && !registry.ecrMode && options.registry === undefined)
    return { unlooked: "no registry is set" };
  if (key === undefined) return { unlooked: "there is no developer key to sign in with: --key-file" };
  if (registryPort === 0 && options.registry === undefined)
    return { unlooked: "BERTH_REGISTRY_PORT is 0, so the proxy's port is unknown: use --registry" };
  const problems: CheckProblem[] = [];
  if (registry.ecrMode) {
    const { openEcrApi } = await import("../../gateway/registry/upstream/ecr-api.ts");
    const ecr = await openEcrApi({ region: settings.awsRegion, clock });
    problems.push(...(await deniedEcr(ecr, signal).finally(ecr.close)));
  }
  if (problems.length > 0) return { says: "", problems };
  const proxy = placeOf(chain);
  const token = await login(proxy, key, registry.service, signal);
  const image = tinyImage();
  const call = async (doing: string, path: string, expected: readonly number[], request: Omit<CheckRequest, "signal"> = {}) => {
    const headers = { authorization: `Bearer ${token}`, ...request.headers };
    const response = await sendRequest(new URL(path, proxy.base), { ...request, headers, certificate: proxy.certificate, signal });
    if (expected.includes(response.status)) return response;
    throw new Fault(
      "CHAIN_BROKEN",
      `${doing} gets status ${response.status}: ${response.text.replace(/\s+/g, " ").slice(0, 300) || "without a reason"}`,
    );
  };
  for (const [digest, bytes] of image.blobs) {
    const { headers } = await call("Beginning a push", `/v2/${REPOSITORY}/blobs/uploads/`, [202], { method: "POST" });
    const to = new URL(String(headers["location"]), proxy.base);
    to.searchParams.set("digest", digest);
    await call("Pushing a layer", `${to.pathname}${to.search}`, [201], { method: "PUT", body: bytes, headers: { "content-type": OCTETS } });
  }
  const path = `/v2/${REPOSITORY}/manifests/`;
  let left = "";
  await call("Pushing a manifest", `${path}${image.tag}`, [201], { method: "PUT", body: image.manifest, headers: { "content-type": MANIFEST } });
  const pulled = await call("Pulling a manifest", `${path}${image.tag}`, [200], { headers: { accept: MANIFEST } });
  if (pulled.text !== image.manifest) throw new Fault("CHAIN_BROKEN", "The pulled manifest differs from the pushed one.");
  for (const [digest] of image.blobs) await call("Pulling a layer", `/v2/${REPOSITORY}/blobs/${digest}`, [200, 307, 302]);
  await call("Deleting the image", `${path}${image.digest}`, [200, 202], { method: "DELETE" }).catch((error: unknown) => {
    if (!(error instanceof Fault)) throw error;
    left = `; the registry does not delete, so ${REPOSITORY}:${image.tag} stays`;
  });
  const own = ownStorage(settings);
  return { says: `${proxy.base.host}: login, push and pull of ${REPOSITORY}${own.place}${left}`, problems: own.problems };
}

/** Where berth's own registry has its images, which the push has shown to work. */
function ownStorage(settings: Settings): { place: string; problems: CheckProblem[] } {
  if (settings.registry.kind !== "embedded") return { place: "", problems: [] };
  const { storage } = registryPlace(settings);
  const name = storageName(storage);
  if (storage.isShared || settings.database.url === undefined) return { place: ` in ${name}`, problems: [] };
  return {
    place: ` in ${name}`,
    problems: [
      warning(
        `Several machines share the database, but the images are only on this one, in ${name}: its loss loses them.`,
        "Set BERTH_REGISTRY_STORAGE: docs/several-machines.md.",
      ),
    ],
  };
}

/** The proxy on this machine has the certificate of the public address. */
function placeOf({ settings, options, server }: CheckContext): { base: URL; certificate: string | undefined } {
  if (options.registry !== undefined) return { base: new URL(options.registry), certificate: undefined };
  const base = new URL(listenerUrl({ ...settings, edgeHost: localHost(settings.registryHost) }, settings.registryPort));
  return { base, certificate: base.protocol === "https:" ? server.url.hostname : undefined };
}

/** Faults: CHAIN_BROKEN. */
async function login({ base, certificate }: ReturnType<typeof placeOf>, key: string, service: string, signal: AbortSignal): Promise<string> {
  const { status, headers } = await sendRequest(new URL("/v2/", base), { certificate, signal });
  const challenge = challengeIn({ header: (name) => headers[name]?.toString() });
  if (status !== 401 || challenge?.startsWith("Bearer ") !== true)
    throw new Fault("CHAIN_BROKEN", `${base.host} answers /v2/ with ${status} and no challenge: it is not berth's registry proxy.`);
  const scope = `repository:${REPOSITORY}:pull,push,delete`;
  const token = await requestDockerToken(new URL("/token", base).href, { key, service, scope, certificate, signal }).catch((error: unknown) => {
    throw error instanceof Fault ? error : new Fault("CHAIN_BROKEN", `Requesting a token failed: ${reasonOf(error)}.`, { cause: error });
  });
  if (token === undefined) throw new Fault("CHAIN_BROKEN", `${base.host} issues no token for the developer key: docker login would fail.`);
  return token;
}

/** A unique image with one empty layer. */
function tinyImage() {
  // An empty tar.
  const layer = Buffer.alloc(1_024);
  const created = { "berth.doctor": randomBytes(8).toString("hex") };
  const config = Buffer.from(
    JSON.stringify({ architecture: "amd64", os: "linux", config: { Labels: created }, rootfs: { type: "layers", diff_ids: [digestOf(layer)] } }),
  );
  const describe = (mediaType: string, bytes: Buffer) => ({ mediaType, size: bytes.length, digest: digestOf(bytes) });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: describe("application/vnd.oci.image.config.v1+json", config),
    layers: [describe("application/vnd.oci.image.layer.v1.tar", layer)],
  });
  const blobs = [layer, config].map((bytes): [string, Buffer] => [digestOf(bytes), bytes]);
  return { tag: `doctor-${created["berth.doctor"]}`, blobs, manifest, digest: digestOf(manifest) };
}

/** The repository to which the check pushes. */
export const REPOSITORY = "datagrok/berth-doctor";

/** The rights for ECR that the role lacks. Faults, for all but a denial: UPSTREAM_CREDENTIAL_FAILED. */
export async function deniedEcr(ecr: Pick<EcrApi, "token" | "digestOf">, signal: AbortSignal): Promise<CheckProblem[]> {
  const calls = [() => ecr.token(signal), () => ecr.digestOf(REPOSITORY, "none", signal)];
  const problems: CheckProblem[] = [];
  for (const call of calls) {
    try {
      await call();
    } catch (error) {
      // The message names the action, and the role if AWS does.
      if (signal.aborted || !(error instanceof Fault) || !error.message.startsWith("AWS denies ")) throw error;
      problems.push(failure(error.message, "Allow it for berth's role, as conf/ecs/policy.json does."));
    }
  }
  return problems;
}
