import type { Clock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";
import type { HttpClient } from "../../../lib/http-client.ts";
import { parseImageReference } from "../../../lib/image-reference.ts";
import { openRegistryHttp, stoppingFault, type Upstream, upstreamClient } from "./upstream.ts";
import type { RegistryLogin } from "../../../lib/registry-client/registry-login.ts";
import { challengeUpstream } from "./challenge-upstream.ts";
import type { EcrApi } from "./ecr-api.ts";
import { openEcrToken } from "./ecr.ts";
import { parseRegistryAddress } from "./registry-address.ts";
import { MANIFEST_TYPES } from "../../../lib/registry-client/registry-client.ts";
import { digestOf, isDigest } from "../../../lib/registry-client/digest.ts";
import { HUB_NAME, isHub } from "../../../lib/registry-client/docker-hub.ts";

/** One registry in which images are looked up. */
export type UpstreamSource = {
  /** The prefix that makes a short name a full one. */
  host: string;
  /** Whether a full name's host is this registry. */
  is(host: string): boolean;
  /** Its own name of a repository. */
  nameOf(repository: string): string;
  /** Undefined if it does not exist. */
  digestOf(name: ImageName, signal: AbortSignal): Promise<string | undefined>;
  /** An engine's login for pulls from this host; undefined if it needs none or berth has none. */
  login(host: string, signal: AbortSignal): Promise<RegistryLogin | undefined>;
  close(): Promise<void>;
};

/**
 * The configured registry. `namedAs` is the host by which engines reach it, if that differs: the registry proxy, which allows public pulls and gets no
 * credentials.
 */
export function upstreamSource(
  upstream: Upstream,
  parts: { http: HttpClient; namedAs: string | undefined; login(signal: AbortSignal): Promise<RegistryLogin | undefined> },
): UpstreamSource {
  const { http, namedAs } = parts;
  const own = (host: string) => host === upstream.host || (isHub(upstream.host) && isHub(host));
  return {
    host: namedAs ?? (isHub(upstream.host) ? HUB_NAME : upstream.host),
    is: (host) => own(host) || host === namedAs,
    nameOf: upstream.nameOf,
    digestOf: (name, signal) => manifestDigest(upstream, http, name, signal),
    login: async (host, signal) => (own(host) ? parts.login(signal) : undefined),
    close: async () => {
      await upstream.close();
      http.close();
    },
  };
}

/** ECR over Amazon's API, for which roles on ECS have the rights. Its first token names its host. */
export async function ecrSource(api: EcrApi, tools: { clock: Clock; log: Log; signal: AbortSignal }): Promise<UpstreamSource> {
  const token = openEcrToken(api, { ...tools, file: undefined });
  const close = async () => {
    token.close(stoppingFault());
    api.close();
  };
  try {
    const { host } = parseRegistryAddress((await token.get(tools.signal)).endpoint ?? "");
    return {
      host,
      is: (other) => other === host,
      nameOf: (repository) => repository,
      digestOf: ({ repository, version }, signal) => api.digestOf(repository, version, signal),
      login: async (_, signal) => loginOf(await token.get(signal)),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function loginOf({ username, password }: RegistryLogin): RegistryLogin {
  return { username, password };
}

/** Docker Hub without a login. Its reply is the same for private and missing images. */
export function hubSource(tools: { clock: Clock }): UpstreamSource {
  const http = openRegistryHttp(tools);
  const upstream = challengeUpstream(parseRegistryAddress(HUB_NAME), { login: undefined, http, file: undefined, clock: tools.clock });
  return {
    host: HUB_NAME,
    is: isHub,
    nameOf: upstream.nameOf,
    digestOf: async (name, signal) => {
      try {
        return await manifestDigest(upstream, http, name, signal);
      } catch (error) {
        if (error instanceof Fault && error.code === "PULL_DENIED") return undefined;
        throw error;
      }
    },
    login: async () => undefined,
    close: async () => upstream.close(),
  };
}

/** The parts of an image reference. */
type ImageName = {
  /** The registry, if the name has one: a first part with a dot or a colon, or `localhost`. */
  host: string | undefined;
  repository: string;
  /** The digest, else the tag, else `latest`. */
  version: string;
  /** The version with its separator, as written after the repository. */
  suffix: string;
};

/** Faults: IMAGE_REFERENCE_INVALID. */
export function readImageName(ref: string): ImageName {
  const parsed = parseImageReference(ref);
  if (!parsed) throw new Fault("IMAGE_REFERENCE_INVALID", `"${ref.slice(0, 512)}" is not an image reference.`);
  const { host, repository, tag, digest } = parsed;
  return { host, repository, version: digest ?? tag ?? "latest", suffix: digest === undefined ? `:${tag ?? "latest"}` : `@${digest}` };
}

/**
 * The digest of a tag or digest in a repository; undefined if it does not exist. Faults: PULL_DENIED, REGISTRY_UNREACHABLE, UPSTREAM_CREDENTIAL_FAILED.
 */
async function manifestDigest(
  upstream: Upstream,
  http: Pick<HttpClient, "request">,
  { repository, version }: { repository: string; version: string },
  signal: AbortSignal,
): Promise<string | undefined> {
  const path = `${upstream.nameOf(repository)}/manifests/${version}`;
  const request = { repository, actions: ["pull"], path, accept: MANIFEST_TYPES, signal } as const;
  const client = upstreamClient(upstream, http);
  const { status, header } = await client.send({ ...request, method: "HEAD" });
  if (status === 404) return undefined;
  if (status === 401 || status === 403) throw new Fault("PULL_DENIED", `The registry ${upstream.host} denies reading ${repository} (${status}).`);
  if (status !== 200) throw new Fault("REGISTRY_UNREACHABLE", `The registry ${upstream.host} answered ${status} for ${repository}.`);
  const digest = header("docker-content-digest");
  if (isDigest(digest)) return digest;
  const manifest = await client.send(request);
  return manifest.status === 200 ? digestOf(manifest.body) : undefined;
}

/** Looks images up for control: an implementation of the registry in drivers/driver.ts. */
export type ImageRegistry = {
  /**
   * The full name and digest of an image: a short name is looked up in each registry in turn, a full one in its own. Undefined if none has it, or if it
   * names a registry that is not configured. A registry that fails ends the search: a later one may have another image of that name. Faults: IMAGE_REFERENCE_INVALID, PULL_DENIED, REGISTRY_UNREACHABLE, UPSTREAM_CREDENTIAL_FAILED.
   */
  resolve(ref: string, call: { signal: AbortSignal }): Promise<{ reference: string; digest: string } | undefined>;
  /** The possible full names of a reference, the likeliest first. */
  fullNames(ref: string): string[];
  login(host: string, call: { signal: AbortSignal }): Promise<RegistryLogin | undefined>;
  close(): Promise<void>;
};

export function openImageRegistry(sources: readonly UpstreamSource[]): ImageRegistry {
  const sourcesOf = ({ host }: ImageName) => (host === undefined ? sources : sources.filter((source) => source.is(host)));
  const fullName = (source: UpstreamSource, { host, repository, suffix }: ImageName) =>
    `${host ?? source.host}/${source.nameOf(repository)}${suffix}`;
  return {
    resolve: async (ref, { signal }) => {
      const name = readImageName(ref);
      for (const source of sourcesOf(name)) {
        const digest = await source.digestOf(name, signal);
        if (digest !== undefined) return { reference: fullName(source, name), digest };
      }
      return undefined;
    },
    fullNames: (ref) => {
      const name = readImageName(ref);
      return sourcesOf(name).map((source) => fullName(source, name));
    },
    login: async (host, { signal }) => sources.find((source) => source.is(host))?.login(host, signal),
    close: async () => {
      await Promise.all(sources.map((source) => source.close()));
    },
  };
}
