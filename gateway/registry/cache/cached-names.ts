import type { Upstream } from "../upstream/upstream.ts";

/** Which requests are for the cache. */
export type CacheNames = {
  /**
   * The cached name of a repository, `docker.io/library/nginx`, for a client's request; undefined: the request is for the backing registry. A client
   * names the upstream in the repository, in the query `ns` as containerd does, or by the host that stands for the first upstream.
   */
  of(repository: string, request: { query: string; host: string | undefined }): string | undefined;
};

/** `upstreams`: their names, such as `docker.io`. `mirrorHost`: the host name at which every repository is of the first of them. */
export function createCacheNames({ upstreams, mirrorHost }: { upstreams: readonly string[]; mirrorHost: string | undefined }): CacheNames {
  return {
    of: (repository, { query, host }) => {
      const named = upstreams.find((upstream) => repository.startsWith(`${upstream}/`));
      if (named !== undefined) return repository;
      const [ns] = new URLSearchParams(query).getAll("ns");
      if (ns !== undefined && upstreams.includes(ns)) return `${ns}/${repository}`;
      const isMirror = mirrorHost !== undefined && host?.replace(/:\d+$/, "").toLowerCase() === mirrorHost.toLowerCase();
      return isMirror ? `${upstreams[0]}/${repository}` : undefined;
    },
  };
}

/** Names to the cache whose turn a download takes. The proxy alone sets it. */
export const CACHE_CLIENT_HEADER = "x-berth-cache-client";

/** A cache of other registries, behind the same proxy. */
export type RegistryCache = {
  names: CacheNames;
  /** Pulls through it need no credential. */
  anonymousPull: boolean;
  upstream: Upstream;
};
