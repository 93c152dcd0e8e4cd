import { isIP } from "node:net";
import { type Clock, onceEvery } from "../../../lib/clock.ts";
import { raceAbort } from "../../../lib/deadline.ts";
import { Fault, type FaultCode } from "../../../lib/fault.ts";
import { type HttpClient, type HttpFailure, type HttpReply, type HttpStream, openHttpClient, retryAfterMs } from "../../../lib/http-client.ts";
import type { Log } from "../../../lib/log.ts";
import type { Metrics } from "../../../lib/metrics/open-metrics.ts";
import { MANIFEST_TYPES, type RegistryClient, type RepositoryAccess } from "../../../lib/registry-client/registry-client.ts";
import { challengeIn, type RegistryLogin } from "../../../lib/registry-client/registry-login.ts";
import { redirectRules } from "../../../lib/registry-client/trusted-hosts.ts";
import { createFairQueue, type FairQueueLimits } from "../../shared-lookups.ts";
import { isRedirect } from "../locations.ts";
import { challengeUpstream } from "../upstream/challenge-upstream.ts";
import type { RegistryAddress } from "../upstream/registry-address.ts";
import { openRegistryHttp, upstreamClient } from "../upstream/upstream.ts";
import type { CachedManifest, CacheStore } from "./cache-store.ts";
import { type BlobTransfer, lengthOf, receiveBlob, SharedDownload } from "./shared-download.ts";
import { createUpstreamPauses, parsePullLimit, type PullLimit, type UpstreamFailure } from "./upstream-limits.ts";
import { digestOf, isDigest } from "../../../lib/registry-client/digest.ts";

/** A manifest for a client: from the cache, or loaded for it. `stale`: why the upstream could not be queried for the tag. */
export type ServedManifest = CachedManifest & { from: "hit" | "miss"; stale?: string | undefined };

/** A blob for a client. `size`: undefined if the upstream does not say. */
export type ServedBlob =
  | { kind: "stored"; file: string; size: number }
  /** It arrives in the cache. `read` yields the bytes from `start` to before `end` as they arrive. `leave` is to be called in the end, read or not. */
  | { kind: "arriving"; size: number | undefined; read: BlobTransfer["read"]; leave(): void };

/** One upstream, through the cache. Repositories are the upstream's own names. Faults: STORED_IMAGE_NOT_FOUND, UPSTREAM_RATE_LIMITED, REGISTRY_REFUSED, REGISTRY_UNREACHABLE, UPSTREAM_CREDENTIAL_FAILED. */
export type CachedUpstream = {
  name: string;
  /** `reference`: a tag or a digest. */
  manifest(repository: string, reference: string, signal: AbortSignal): Promise<ServedManifest>;
  /** `client`: whose turn a download takes. It ends when every client that waits for it or reads it has left. */
  blob(repository: string, digest: string, client: string, signal: AbortSignal): Promise<ServedBlob>;
  /** Its size without loading it; undefined if the upstream does not say. */
  blobSize(repository: string, digest: string, signal: AbortSignal): Promise<number | undefined>;
  /** One page of the tags, as the upstream has them now. */
  tags(repository: string, query: string, signal: AbortSignal): Promise<HttpReply>;
  /** The pull limit as the upstream last reported it. */
  pullLimit(): PullLimit | undefined;
  close(): Promise<void>;
};

const CONNECT_MS = 5_000;
const HEAD_MS = 30_000;
const SILENCE_MS = 30_000;
const MAX_REPLY_BYTES = 4 * 1_048_576;
/** Layers that are loaded at a time, of all clients, of one, and of one while no other waits, which leaves places for the next; and requests that wait for such a place. An engine loads three layers of an image at a time. */
export const DOWNLOADS = { atOnce: 16, ofOne: 8, ofOneAlone: 12, waiting: 500, waitingOfOne: 200, waitMs: 60_000 } satisfies FairQueueLimits;
const MOST_HOPS = 3;
/** Below this part of the pull limit berth warns. */
const LOW_LIMIT = 0.1;
/** A warning is not repeated earlier, however many pulls there are. */
const LIMIT_WARN_MS = 3_600_000;
const STALE_WARN_MS = 60_000;
/** Statuses after which the cached content counts: the upstream cannot answer now. Others, such as 404, are its answer. */
const isAway = (status: number) => status >= 500 || status === 408;

export type CachedUpstreamOptions = {
  name: string;
  address: RegistryAddress;
  login: RegistryLogin | undefined;
  store: CacheStore;
  /** How long a tag counts without asking the upstream. */
  freshMs: number;
  redirectHosts: readonly string[];
  metrics: Pick<Metrics, "cacheUpstreamRequests">;
  clock: Clock;
  log: Log;
};

export function openCachedUpstream(options: CachedUpstreamOptions): CachedUpstream {
  const { name, address, login, store, freshMs, metrics, clock, log } = options;
  const upstream = challengeUpstream(address, {
    login,
    loginSource: "the login in BERTH_REGISTRY_CACHE_LOGINS",
    refusesByScope: true,
    http: openRegistryHttp({ clock }),
    file: undefined,
    clock,
  });
  const http = openRegistryHttp({ clock });
  const client = upstreamClient(upstream, http);
  const downloadHttp = openDownloadHttp(clock);
  const rules = redirectRules({ hostname: address.hostname, port: address.target.port }, options.redirectHosts);
  const pauses = createUpstreamPauses(clock);
  const closing = new AbortController();
  const running = new Map<string, Promise<unknown>>();
  /** By digest, while a client waits for one or reads it; by repository and digest after another repository refused the layer. */
  const downloads = new Map<string, SharedDownload>();
  const transfers = new Set<Promise<void>>();
  const tooMany = () => new Fault("REGISTRY_UNREACHABLE", `berth loads too many other layers of ${name} at the moment. Try again later.`);
  const places = createFairQueue(DOWNLOADS, tooMany, clock);
  let limit: PullLimit | undefined;

  /** One request for all who need its result at this moment. It goes on when one of them leaves. */
  const once = <T>(key: string, work: () => Promise<T>): Promise<T> => {
    const existing = running.get(key) as Promise<T> | undefined;
    if (existing) return existing;
    const result = work().finally(() => running.delete(key));
    running.set(key, result);
    return result;
  };

  const away = (why: string, retryMs?: number, cause?: unknown) =>
    new Fault("REGISTRY_UNREACHABLE", `${name} cannot be reached (${why}), and berth has no copy of this. Try again later.`, {
      cause,
      ...(retryMs === undefined ? {} : { retryAfterMs: retryMs }),
    });
  const limited = (retryMs: number, hasLogin = login !== undefined) =>
    new Fault(
      "UPSTREAM_RATE_LIMITED",
      `${name} limits berth's pulls, and berth has no copy of this. Try again in ${Math.ceil(retryMs / 1_000)} s${hasLogin ? "" : ", or set BERTH_REGISTRY_CACHE_LOGINS for a higher limit"}.`,
      { retryAfterMs: retryMs },
    );
  const faultOf = (failure: UpstreamFailure, retryMs: number, cause?: unknown) =>
    failure.kind === "limited" ? limited(retryMs) : away(failure.why, retryMs, cause);

  /** Sends a request unless this kind is paused, and counts what comes of it. */
  const send = async <R extends { status: number; header(name: string): string | undefined }>(
    kind: string,
    request: () => Promise<R>,
  ): Promise<R> => {
    const pause = pauses.check(kind);
    if (pause) throw faultOf(pause, pause.leftMs);
    const fail = (failure: UpstreamFailure, cause?: unknown) => {
      pauses.failed(kind, failure);
      const left = pauses.check(kind)?.leftMs ?? 1_000;
      log.warn({ upstream: name, kind, why: failure.why, retryInMs: Math.round(left) }, "registry cache pauses requests to its upstream");
      return faultOf(failure, left, cause);
    };
    let reply: R;
    try {
      reply = await request();
    } catch (error) {
      metrics.cacheUpstreamRequests.at(name, "failed").add();
      // A refusal is about one repository, or about berth's login: a pause would be for all the others.
      if (closing.signal.aborted || !(error instanceof Fault) || error.code !== "REGISTRY_UNREACHABLE") {
        pauses.undecided(kind);
        throw error;
      }
      throw fail({ kind: "away", why: error.message.replace(/\.$/, "") }, error);
    }
    metrics.cacheUpstreamRequests.at(name, reply.status === 429 ? "429" : `${Math.floor(reply.status / 100)}xx`).add();
    limit = parsePullLimit(reply) ?? limit;
    warnOfLimit();
    const retryMs = retryAfterMs(reply, clock.now());
    if (reply.status === 429) throw fail({ kind: "limited", why: "it answered 429", retryAfterMs: retryMs });
    if (isAway(reply.status)) throw fail({ kind: "away", why: `it answered ${reply.status}`, retryAfterMs: retryMs });
    pauses.succeeded(kind);
    return reply;
  };

  const mayWarnOfLimit = onceEvery(LIMIT_WARN_MS, clock);
  const mayWarnOfStale = onceEvery(STALE_WARN_MS, clock);
  const warnOfLimit = () => {
    if (limit === undefined || limit.remaining > limit.limit * LOW_LIMIT || !mayWarnOfLimit()) return;
    log.warn({ upstream: name, ...limit }, "pull limit of a registry is nearly used up");
  };
  const warnOfStale = (repository: string, tag: string, why: FaultCode) => {
    if (mayWarnOfStale()) log.warn({ upstream: name, repository, tag, why }, "registry cache serves a tag that it cannot check");
  };

  /** Faults for what the upstream refuses. */
  const requireSuccess = (status: number, repository: string, what: string): void => {
    if (status === 200) return;
    if (status === 404) throw new Fault("STORED_IMAGE_NOT_FOUND", `${name} has no ${what} of ${repository}.`);
    if (status === 401 || status === 403)
      throw new Fault(
        "REGISTRY_REFUSED",
        `${name} has no repository ${repository}, or refuses it ${login ? "to berth's login" : "without a login: BERTH_REGISTRY_CACHE_LOGINS"}.`,
      );
    if (status >= 400) throw new Fault("REGISTRY_REFUSED", `${name} refuses ${what} of ${repository}: it answered ${status}.`);
    throw away(`it answered ${status}`);
  };

  const access = (repository: string): RepositoryAccess => ({ repository, actions: ["pull"] });

  const loadManifest = (repository: string, reference: string): Promise<CachedManifest> =>
    once(`manifest ${repository} ${reference}`, async () => {
      const request = manifestRequest("GET", repository, reference);
      const reply = await send("manifest", () => client.send(request));
      requireSuccess(reply.status, repository, `manifest ${reference}`);
      const isByDigest = reference.includes(":");
      const digest = isByDigest ? reference : digestOf(reply.body);
      if (isByDigest && digestOf(reply.body, reference) !== reference) throw away(`its manifest is not ${reference}`);
      const manifest = { digest, type: typeIn(reply), body: reply.body };
      await store.putManifest(manifest);
      return manifest;
    });
  const manifestRequest = (method: "GET" | "HEAD", repository: string, reference: string): Parameters<RegistryClient["send"]>[0] => ({
    ...access(repository),
    method,
    path: `${upstream.nameOf(repository)}/manifests/${reference}`,
    accept: MANIFEST_TYPES,
    signal: closing.signal,
  });

  /** Asks where the tag points to, and has its manifest in the cache before the tag moves: a client gets both or the earlier ones. */
  const checkTag = async (repository: string, tag: string): Promise<ServedManifest> => {
    const reply = await send("check", () => client.send(manifestRequest("HEAD", repository, tag)));
    requireSuccess(reply.status, repository, `tag ${tag}`);
    const digest = reply.header("docker-content-digest");
    const isKnown = isDigest(digest);
    const manifest = await manifestOf(repository, isKnown ? digest : tag);
    await store.putTag(tagName(repository, tag), { digest: manifest.digest, checkedAt: clock.now() });
    return manifest;
  };
  const manifestOf = async (repository: string, reference: string): Promise<ServedManifest> => {
    const stored = reference.includes(":") ? await store.manifest(reference) : undefined;
    return stored ? { ...stored, from: "hit" } : { ...(await loadManifest(repository, reference)), from: "miss" };
  };
  const tagName = (repository: string, tag: string) => `${name}/${upstream.nameOf(repository)}:${tag}`;

  const byTag = async (repository: string, tag: string): Promise<ServedManifest> => {
    const key = tagName(repository, tag);
    const cached = await store.tag(key);
    const stored = cached && (await store.manifest(cached.digest));
    const agedMs = clock.now() - (cached?.checkedAt ?? 0);
    // Checked in the future: the clock was set back.
    if (stored && agedMs >= 0 && agedMs < freshMs) return { ...stored, from: "hit" };
    try {
      return await checkTag(repository, tag);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      // What the upstream refuses is not served from the cache either, also not when it is away after that.
      if (REFUSALS.has(error.code)) await store.removeTag(key);
      if (stored === undefined || !STALE.has(error.code)) throw error;
      warnOfStale(repository, tag, error.code);
      return { ...stored, from: "hit", stale: error.code === "UPSTREAM_RATE_LIMITED" ? `${name} limits pulls` : `${name} is unavailable` };
    }
  };

  const openDownload = (key: string, repository: string, digest: string): SharedDownload => {
    const download = new SharedDownload({
      repository,
      places,
      closing: closing.signal,
      begin: async (signal, isUsed) => {
        const reply = await send("blob", () => openBlob("GET", repository, digest, signal));
        if (reply.status !== 200) reply.stream.destroy();
        requireSuccess(reply.status, repository, `layer ${digest}`);
        return receiveBlob({ reply, digest, store, signal, isUsed });
      },
      onOver: () => {
        if (downloads.get(key) === download) downloads.delete(key);
      },
      onTransfer: (finished, close) => {
        const end = finished
          .catch((err: unknown) => {
            if (!download.signal.aborted) log.warn({ err, upstream: name, digest }, "registry cache could not load a layer");
          })
          .then(() => {
            transfers.delete(end);
            return close();
          })
          .catch((err: unknown) => log.warn({ err, upstream: name, digest }, "registry cache could not close a layer"));
        transfers.add(end);
      },
    });
    downloads.set(key, download);
    return download;
  };
  const readArriving = async (download: SharedDownload, client: string, signal: AbortSignal): Promise<ServedBlob> => {
    const leave = download.join(client);
    try {
      const { size, read } = await raceAbort(download.transfer, signal);
      return { kind: "arriving", size, read, leave };
    } catch (error) {
      leave();
      throw error;
    }
  };

  /** The head of a blob, behind its redirects, which get no credential. */
  const openBlob = async (method: "GET" | "HEAD", repository: string, digest: string, signal: AbortSignal): Promise<HttpStream> => {
    const first = `${address.root}/v2/${upstream.nameOf(repository)}/blobs/${digest}`;
    const sendWith = (authorization: string | undefined) => downloadHttp.stream({ method, url: first, headers: { authorization }, signal });
    let reply = await sendWith(await upstream.authorization(access(repository), signal));
    if (reply.status === 401) {
      reply.stream.destroy();
      const authorization = await upstream.refused(access(repository), challengeIn(reply), signal);
      if (authorization !== undefined) reply = await sendWith(authorization);
    }
    let at = first;
    for (let hops = 0; isRedirect(reply.status) && hops < MOST_HOPS; hops++) {
      reply.stream.destroy();
      const to = URL.parse(reply.header("location") ?? "", at);
      if (to === null) break;
      const { host } = await rules.targetOf(to);
      at = to.href;
      reply = await downloadHttp.stream({ method, url: to, ...(isIP(host) === 0 ? {} : { address: host }), signal });
    }
    return reply;
  };

  return {
    name,
    manifest: async (repository, reference, signal) => {
      const work = reference.includes(":")
        ? manifestOf(repository, reference)
        : once(`tag ${repository} ${reference}`, () => byTag(repository, reference));
      return raceAbort(work, signal);
    },
    blob: async (repository, digest, client, signal) => {
      const stored = await store.blob(digest);
      if (stored) return { kind: "stored", ...stored };
      signal.throwIfAborted();
      const shared = downloads.get(digest);
      if (shared === undefined) return readArriving(openDownload(digest, repository, digest), client, signal);
      try {
        return await readArriving(shared, client, signal);
      } catch (error) {
        // It was requested for another repository, which may lack the layer or be private.
        if (shared.repository === repository || !(error instanceof Fault && REFUSALS.has(error.code))) throw error;
      }
      const key = `${repository} ${digest}`;
      return readArriving(downloads.get(key) ?? openDownload(key, repository, digest), client, signal);
    },
    blobSize: async (repository, digest, signal) => {
      const arriving = downloads.get(digest)?.transfer.catch(() => undefined);
      const existing = (await store.blob(digest)) ?? (arriving && (await raceAbort(arriving, signal)));
      if (existing) return existing.size;
      const reply = await send("blob", () => openBlob("HEAD", repository, digest, AbortSignal.any([signal, closing.signal])));
      reply.stream.destroy();
      requireSuccess(reply.status, repository, `layer ${digest}`);
      return lengthOf(reply);
    },
    tags: async (repository, query, signal) => {
      const path = `${upstream.nameOf(repository)}/tags/list${query}`;
      const reply = await send("tags", () => client.send({ ...access(repository), path, accept: "application/json", signal }));
      requireSuccess(reply.status, repository, "tags");
      return reply;
    },
    pullLimit: () => limit,
    close: async () => {
      closing.abort(new Fault("REGISTRY_UNREACHABLE", "The registry proxy is stopping."));
      downloadHttp.close();
      http.close();
      await Promise.allSettled([...running.values(), ...[...downloads.values()].map(({ transfer }) => transfer)]);
      await Promise.all(transfers);
      await upstream.close();
    },
  };
}

/** Faults after which the cached content counts. */
const STALE: ReadonlySet<FaultCode> = new Set(["UPSTREAM_RATE_LIMITED", "REGISTRY_UNREACHABLE"]);
/** Faults about one repository. */
const REFUSALS: ReadonlySet<FaultCode> = new Set(["STORED_IMAGE_NOT_FOUND", "REGISTRY_REFUSED"]);
const PLAIN_TYPE = "application/vnd.docker.distribution.manifest.v2+json";

/** It becomes a header again. */
function typeIn(reply: HttpReply): string {
  const [type = ""] = (reply.header("content-type") ?? "").split(";");
  return /^[\w.+/-]{1,200}$/.test(type) ? type : PLAIN_TYPE;
}

function openDownloadHttp(clock: Clock): HttpClient {
  return openHttpClient({
    clock,
    maxBytes: MAX_REPLY_BYTES,
    timeoutMs: HEAD_MS,
    connectTimeoutMs: CONNECT_MS,
    idleTimeoutMs: SILENCE_MS,
    toFault: ({ url, why, cause }: HttpFailure) => new Fault("REGISTRY_UNREACHABLE", `${url.host} cannot be reached (${why}).`, { cause }),
  });
}
