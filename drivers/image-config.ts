import { isIP } from "node:net";
import type { Clock } from "../lib/clock.ts";
import { withTimeout } from "../lib/deadline.ts";
import { Fault } from "../lib/fault.ts";
import { type HttpReply, MOST_REPLY_VALUES, openHttpClient } from "../lib/http-client.ts";
import { hasMoreValues } from "../lib/parse-json.ts";
import {
  createRegistryClient,
  IMAGE_TYPES,
  layerBytes,
  MANIFEST_TYPES,
  type RegistryClient,
  repeatsKeys,
} from "../lib/registry-client/registry-client.ts";
import { isDigest } from "../lib/registry-client/digest.ts";
import { HUB_HOST, HUB_NAME } from "../lib/registry-client/docker-hub.ts";
import { basicAuthorization, type RegistryLogin, buyToken } from "../lib/registry-client/registry-login.ts";
import { type RedirectRules, redirectRules, isLocal } from "../lib/registry-client/trusted-hosts.ts";
import { type Call, type ImageMeasures, type ResolvedImage, USUAL_PLATFORM } from "./driver.ts";
import { exposedPorts, parseMoment, parseRuntime, platformName, type RuntimeConfig } from "./image.ts";

/** What a registry reports of an image without a pull: https://github.com/opencontainers/distribution-spec, and image-spec's config. */
export type ImageConfig = { digest: string | undefined } & Pick<ResolvedImage, "exposed" | "guessed" | "command" | "healthcheck"> & ImageMeasures;

/**
 * `trusted`: the settings name this registry, so it may have any address. A registry that a package's author names follows the rules of redirects: no
 * address of this machine, unless `listed` has it (`BERTH_REGISTRY_REDIRECT_HOSTS`).
 */
type RemoteImage = {
  host: string;
  repository: string;
  version: string;
  login: (call: Call) => Promise<RegistryLogin | undefined> | undefined;
  trusted: boolean;
  listed: readonly string[];
  /** What would run it. If undefined, the image may be for any platform of Linux. */
  machine?: MachinePlatform | undefined;
  clock: Clock;
  signal: AbortSignal;
};

/** The platform of the machines, such as `linux/arm64`, and the setting that names it. */
export type MachinePlatform = { platform: string; setting: string };

const MAX_BYTES = 4 * 1_048_576;
const MOST_REDIRECTS = 3;
/** Of platforms in a message. */
const MOST_NAMED = 5;
const SILENCE_MS = 10_000;
/** For all requests together. After it the port is left to the package. */
const LIMIT_MS = 20_000;
const CONNECT_MS = 5_000;

/** Any user who may push writes these: every member may have any type. */
type Manifest = {
  manifests?: unknown;
  config?: { digest?: unknown } | null;
  layers?: unknown;
};
type IndexEntry = { digest?: unknown; platform?: { os?: unknown; architecture?: unknown } | null } | null;
type Config = {
  os?: unknown;
  architecture?: unknown;
  created?: unknown;
  config?: (RuntimeConfig & { ExposedPorts?: Record<string, unknown> | null }) | null;
  history?: unknown;
};

/**
 * The ports that an image exposes, its command and its health check, from its manifest and its configuration. Faults: IMAGE_NOT_FOUND, PULL_DENIED, REGISTRY_UNREACHABLE.
 */
export async function readImageConfig(image: RemoteImage): Promise<ImageConfig> {
  const { clock, host, signal } = image;
  const overdue = () => new Fault("REGISTRY_UNREACHABLE", `${host} did not answer within ${LIMIT_MS / 1_000} s.`);
  return withTimeout({ clock, ms: LIMIT_MS, overdue, signal }, (own) => openAndRead({ ...image, signal: own }));
}

async function openAndRead(image: RemoteImage): Promise<ImageConfig> {
  const http = openHttpClient({
    clock: image.clock,
    maxBytes: MAX_BYTES,
    timeoutMs: LIMIT_MS,
    connectTimeoutMs: CONNECT_MS,
    idleTimeoutMs: SILENCE_MS,
    toFault: ({ kind, url, why, cause }) => {
      const sentence =
        kind === "oversized" ? `The registry sent more than ${MAX_BYTES} bytes for ${nameOf(image)}.` : `${url.host} cannot be reached (${why}).`;
      return new Fault("REGISTRY_UNREACHABLE", sentence, { cause });
    },
  });
  try {
    const login = await image.login({ signal: image.signal });
    return await configOf(image, clientFor(image, login, http));
  } finally {
    http.close();
  }
}

async function configOf(image: RemoteImage, client: RegistryClient): Promise<ImageConfig> {
  const { repository, version, machine, signal } = image;
  const get = async (path: string, accept: string): Promise<HttpReply> => {
    const reply = await client.send({ repository, actions: ["pull"], path: `${repository}/${path}`, accept, signal });
    requireFound(reply, image);
    return reply;
  };
  const first = await get(`manifests/${version}`, MANIFEST_TYPES);
  let manifest = manifestIn(first, image);
  if (Array.isArray(manifest.manifests)) {
    const listed = chooseManifest(manifest.manifests as IndexEntry[], image);
    manifest = manifestIn(await get(`manifests/${listed}`, IMAGE_TYPES.join(", ")), image);
  }
  const digest = first.header("docker-content-digest");
  const sizeBytes = layerBytes(manifest);
  const size = sizeBytes === undefined ? {} : { sizeBytes };
  const described = digestIn(manifest.config);
  if (described === undefined) return { digest, ...size, exposed: [], command: [] };
  const { config, history, os, architecture, created } = jsonIn<Config>(await get(`blobs/${described}`, "*/*"), image);
  const builtFor = platformName(os, architecture);
  const createdOn = parseMoment(created);
  return {
    digest,
    ...size,
    ...(createdOn === undefined ? {} : { createdOn }),
    ...(builtFor === undefined ? {} : { platform: { image: builtFor, machine: machine?.platform } }),
    ...exposedPorts(
      Object.keys(config?.ExposedPorts ?? {}),
      (Array.isArray(history) ? (history as ({ created_by?: unknown } | null)[]) : []).map((line) => {
        return typeof line?.created_by === "string" ? line.created_by : "";
      }),
    ),
    ...parseRuntime(config),
  };
}

/** The manifest for the machines, from an image for several platforms. Faults: IMAGE_NOT_FOUND. */
function chooseManifest(entries: readonly IndexEntry[], image: Pick<RemoteImage, "host" | "repository" | "version" | "machine">): string {
  const { machine } = image;
  const digests = new Map<string, string>();
  for (const entry of entries) {
    const platform = platformName(entry?.platform?.os, entry?.platform?.architecture);
    const digest = digestIn(entry);
    // Attestations have the platform `unknown/unknown`.
    if (platform?.startsWith("linux/") && digest !== undefined && !digests.has(platform)) digests.set(platform, digest);
  }
  const digest = machine === undefined ? (digests.get(USUAL_PLATFORM) ?? [...digests.values()][0]) : digests.get(machine.platform);
  if (digest !== undefined) return digest;
  const platforms = [...digests.keys()].slice(0, MOST_NAMED).join(", ") || "no platform of Linux";
  if (machine === undefined)
    throw new Fault("IMAGE_NOT_FOUND", `${nameOf(image)} is built for no platform of Linux. Build it with --platform ${USUAL_PLATFORM}.`);
  throw new Fault(
    "IMAGE_NOT_FOUND",
    `${nameOf(image)} is built for ${platforms}, and containers run on ${machine.platform} (${machine.setting}). Build it with --platform ${machine.platform}.`,
  );
}

function digestIn(descriptor: { digest?: unknown } | null | undefined): string | undefined {
  const digest = descriptor?.digest;
  return isDigest(digest) ? digest : undefined;
}

/** The registry and the repository of a full name, without tag and digest. */
export function placeOf(reference: string): Pick<RemoteImage, "host" | "repository"> {
  const slash = reference.indexOf("/");
  return { host: reference.slice(0, slash), repository: (reference.slice(slash + 1).split("@", 1)[0] ?? "").replace(/:[\w.-]+$/, "") };
}

/** Signs in as the registry requires: by name and password, or with a token. The login goes to the registry's own host only. */
function clientFor(image: RemoteImage, login: RegistryLogin | undefined, http: ReturnType<typeof openHttpClient>): RegistryClient {
  const { repository, signal } = image;
  const root = rootOf(image.host === HUB_NAME ? HUB_HOST : image.host);
  const rules = redirectRules({ hostname: root.hostname, port: portOf(root) }, image.listed, image.trusted ? "by settings" : "by author");
  // The connection goes to the checked address: the name may resolve to another one by then.
  const connection = async (url: URL) => {
    const address = await checkedAddress(url, image, rules);
    return { address: isIP(address) === 0 ? undefined : address };
  };
  let authorization = login && basicAuthorization(login);
  return createRegistryClient({
    root: root.origin,
    http,
    connection,
    credentials: {
      authorization: () => authorization,
      refused: async (_access, challenge) => {
        const scope = `repository:${repository}:pull`;
        const send = async (url: URL, headers: Record<string, string | undefined>) =>
          http.request({ url, headers, signal, ...(await connection(url)) });
        const result = await buyToken(challenge, { registry: root, login, loginFor: "same host", scope, send });
        if (result.kind === "untrusted") {
          const where = result.realm?.host ?? "no URL";
          const why = `The registry of ${nameOf(image)} sends for a token to ${where}, which is not of its own domain. Name the image in a registry that signs in at its own domain.`;
          throw new Fault("REGISTRY_UNREACHABLE", why);
        }
        authorization = result.kind === "token" ? result.authorization : undefined;
        return authorization;
      },
    },
    redirects: {
      most: MOST_REDIRECTS,
      check: (from, to) => {
        if (!to || !mayLead(from, to))
          throw new Fault("REGISTRY_UNREACHABLE", `The registry redirects ${nameOf(image)} to a place that is not safe.`);
      },
    },
  });
}

function requireFound({ status }: HttpReply, image: RemoteImage): void {
  if (status === 404) throw new Fault("IMAGE_NOT_FOUND", `The registry has no ${nameOf(image)}.`);
  if (status === 401 || status === 403) throw new Fault("PULL_DENIED", `The registry does not let ${nameOf(image)} be read (${status}).`);
  if (status !== 200) throw new Fault("REGISTRY_UNREACHABLE", `The registry answered ${status} for ${nameOf(image)}.`);
}

/** As engines do: without TLS only on this machine, and on the usual port of registries without a certificate. */
export function rootOf(host: string): URL {
  const url = URL.parse(`https://${host}`);
  if (url === null) throw new Fault("REGISTRY_UNREACHABLE", `${host} is no host of a registry.`);
  return isLocal(url.hostname.replace(/^\[|\]$/g, "")) || url.port === "5000" ? new URL(`http://${host}`) : url;
}

function portOf(url: URL): number {
  return Number(url.port) || (url.protocol === "https:" ? 443 : 80);
}

/** A registry over TLS must not redirect to a server without it, for example inside a private network. */
export function mayLead(from: URL, to: URL): boolean {
  return to.protocol === "https:" || (to.protocol === "http:" && from.protocol === "http:");
}

async function checkedAddress(url: URL, image: RemoteImage, rules: RedirectRules): Promise<string> {
  try {
    return (await rules.targetOf(url)).host;
  } catch (error) {
    image.signal.throwIfAborted();
    if (!(error instanceof Fault)) throw error;
    throw new Fault("REGISTRY_UNREACHABLE", `${nameOf(image)} is not read: ${error.message}`, { cause: error });
  }
}

/** An engine has to read the same layers in it. */
function manifestIn(reply: HttpReply, image: RemoteImage): Manifest {
  const manifest = jsonIn<Manifest>(reply, image);
  if (!repeatsKeys(reply.text(), manifest)) return manifest;
  throw new Fault(
    "IMAGE_NOT_FOUND",
    `The manifest of ${nameOf(image)} has a key twice, which programs read in different ways: build the image again.`,
  );
}

function jsonIn<T extends object>(reply: HttpReply, image: RemoteImage): T {
  const failed = (cause?: unknown) => new Fault("REGISTRY_UNREACHABLE", `The registry answered no JSON object for ${nameOf(image)}.`, { cause });
  let value: unknown;
  const text = reply.text();
  if (hasMoreValues(text, MOST_REPLY_VALUES))
    throw new Fault("REGISTRY_UNREACHABLE", `The registry sent more than ${MOST_REPLY_VALUES} values for ${nameOf(image)}.`);
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw failed(cause);
  }
  if (typeof value !== "object" || value === null) throw failed();
  return value as T;
}

function nameOf({ host, repository, version }: Pick<RemoteImage, "host" | "repository" | "version">): string {
  return `${host}/${repository}${version.includes(":") ? "@" : ":"}${version}`;
}
