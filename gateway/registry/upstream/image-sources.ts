import type { Clock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";
import type { HttpClient } from "../../../lib/http-client.ts";
import { openRegistryHttp } from "./registry-http.ts";
import type { RegistryLogin } from "../../../lib/registry-client/registry-login.ts";
import { challengeUpstream } from "./by-challenge.ts";
import type { EcrApi } from "./ecr-api.ts";
import { openEcrToken } from "./ecr.ts";
import type { ImageName } from "./image-name.ts";
import { manifestDigest } from "./manifest-digest.ts";
import { HUB_NAME, isHub, readRegistryAddress } from "./registry-address.ts";
import type { Upstream } from "./upstream.ts";

/** One registry that images are looked for in. */
export type ImageSource = {
  /** What stands before a short name to make it a full one. */
  host: string;
  /** Whether a full name's host is this registry. */
  is(host: string): boolean;
  /** Its own name of a repository. */
  nameOf(repository: string): string;
  /** Undefined where it is not there. */
  digestOf(name: ImageName, signal: AbortSignal): Promise<string | undefined>;
  /** What an engine signs in to this host with, to pull; undefined where it needs nothing or berth has nothing. */
  login(host: string, signal: AbortSignal): Promise<RegistryLogin | undefined>;
  close(): Promise<void>;
};

/**
 * The registry that is set up. `namedAs` is the host by which engines reach it, where that is another: the registry proxy before it, which
 * lets everybody pull and is sent no credentials.
 */
export function upstreamSource(
  upstream: Upstream,
  parts: { http: HttpClient; namedAs: string | undefined; login(signal: AbortSignal): Promise<RegistryLogin | undefined> },
): ImageSource {
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

/** ECR asked through Amazon's API, as roles on ECS may. What it is called is known once it gave a token. */
export async function ecrSource(api: EcrApi, tools: { clock: Clock; log: Log; signal: AbortSignal }): Promise<ImageSource> {
  const token = openEcrToken(api, { ...tools, file: undefined });
  const close = async () => {
    token.close();
    api.close();
  };
  try {
    const { host } = readRegistryAddress((await token.get(tools.signal)).endpoint ?? "");
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

/** Docker Hub without a login. It answers what is private and what does not exist alike. */
export function hubSource(tools: { clock: Clock }): ImageSource {
  const http = openRegistryHttp(tools);
  const upstream = challengeUpstream(readRegistryAddress(HUB_NAME), { login: undefined, http, file: undefined, clock: tools.clock });
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
