import { createReadStream } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Fault } from "../../../lib/fault.ts";
import type { Metrics } from "../../../lib/metrics/open-metrics.ts";
import { nextPage } from "../../../lib/registry-client/registry-client.ts";
import { parseV2Path, splitTarget } from "../authorize.ts";
import { openPrivateRegistry } from "../private-registry.ts";
import { socketUpstream } from "../upstream/upstream.ts";
import { CACHE_CLIENT_HEADER, type CacheNames, createCacheNames, type RegistryCache } from "./cached-names.ts";
import { type CachedUpstream, type CachedUpstreamOptions, openCachedUpstream, type ServedBlob } from "./cached-upstream.ts";
import { openCacheStore } from "./cache-store.ts";
import { isDigest } from "../../../lib/registry-client/digest.ts";

export type CacheOptions = {
  folder: string;
  maxBytes: number;
  unusedMs: number;
  upstreams: readonly Pick<CachedUpstreamOptions, "name" | "address" | "login">[];
  mirrorHost: string | undefined;
  anonymousPull: boolean;
  metrics: Pick<Metrics, "cacheRequests" | "cacheUpstreamRequests" | "cacheBytes" | "cachePullLimit" | "cachePullsRemaining">;
} & Pick<CachedUpstreamOptions, "freshMs" | "redirectHosts" | "clock" | "log">;

/**
 * A pull-through cache of other registries, as a registry on a Unix socket of this user alone: `/v2/docker.io/library/nginx/…`. The registry proxy in
 * front checks its clients.
 */
export async function openCache(options: CacheOptions): Promise<RegistryCache & { close(): Promise<void> }> {
  const { upstreams, metrics, log } = options;
  const store = await openCacheStore(options);
  const opened = new Map(upstreams.map((one) => [one.name, openCachedUpstream({ ...options, ...one, store })]));
  const names: CacheNames = createCacheNames({ upstreams: [...opened.keys()], mirrorHost: options.mirrorHost });
  metrics.cacheBytes.look((family) => void (family.at().value = store.bytes()));
  for (const [metric, field] of [
    [metrics.cachePullLimit, "limit"],
    [metrics.cachePullsRemaining, "remaining"],
  ] as const) {
    metric.look((family) => {
      for (const { name, pullLimit } of opened.values()) {
        const limit = pullLimit();
        if (limit) family.at(name).value = limit[field];
      }
    });
  }

  const answer = async (request: IncomingMessage, response: ServerResponse, signal: AbortSignal): Promise<void> => {
    request.resume();
    const { path, query } = splitTarget(request.url ?? "");
    const v2 = parseV2Path(path);
    if (v2 === undefined || !("repository" in v2)) throw new Fault("ROUTE_NOT_FOUND", "There is no such path in the registry cache");
    const upstream = [...opened.values()].find(({ name }) => v2.repository.startsWith(`${name}/`));
    if (upstream === undefined) throw new Fault("ROUTE_NOT_FOUND", "The registry cache has no such upstream");
    const repository = v2.repository.slice(upstream.name.length + 1);
    const count = (result: string) => metrics.cacheRequests.at(upstream.name, result).add();
    const isHead = request.method === "HEAD";
    try {
      switch (v2.kind) {
        case "manifest": {
          const manifest = await upstream.manifest(repository, manifestReference(v2.reference), signal);
          count(manifest.stale ? "stale" : manifest.from);
          response.writeHead(200, {
            ...VERSION,
            "Content-Type": manifest.type,
            "Content-Length": manifest.body.length,
            "Docker-Content-Digest": manifest.digest,
            ...(manifest.stale ? { Warning: `110 berth "Response is stale: ${manifest.stale}"` } : {}),
          });
          return void response.end(isHead ? undefined : manifest.body);
        }
        case "blob":
          return await answerBlob(v2.reference, upstream, repository, { request, response, signal, count });
        case "tags": {
          const reply = await upstream.tags(repository, pageOf(query), signal);
          count("miss");
          const next = nextPage(reply.header("link"), `${repository}/tags/list`);
          const more = next === undefined ? undefined : splitTarget(next).query;
          response.writeHead(200, {
            ...VERSION,
            "Content-Type": "application/json",
            "Content-Length": reply.body.length,
            ...(more === undefined ? {} : { Link: `<${path}${more}>; rel="next"` }),
          });
          return void response.end(isHead ? undefined : reply.body);
        }
        default:
          throw new Fault("STORED_IMAGE_NOT_FOUND", `The registry cache has only manifests, layers and lists of tags`);
      }
    } catch (error) {
      if (!response.headersSent && !signal.aborted) count("failed");
      throw error;
    }
  };

  const server = await openPrivateRegistry("registry cache", answer, log);
  log.info({ upstreams: [...opened.keys()], folder: options.folder }, "registry cache is open");
  return {
    names,
    anonymousPull: options.anonymousPull,
    upstream: { ...socketUpstream(server.socketPath), clientLines: (client) => [[CACHE_CLIENT_HEADER, client]] },
    close: async () => {
      await server.close();
      for (const upstream of opened.values()) await upstream.close();
      await store.close();
    },
  };
}

const VERSION = { "Docker-Distribution-Api-Version": "registry/2.0" };

type BlobExchange = { request: IncomingMessage; response: ServerResponse; signal: AbortSignal; count(result: string): void };

async function answerBlob(
  reference: string,
  upstream: CachedUpstream,
  repository: string,
  { request, response, signal, count }: BlobExchange,
): Promise<void> {
  const digest = decodePart(reference);
  if (!isDigest(digest)) throw new Fault("STORED_IMAGE_NOT_FOUND", `${reference} is no digest of a layer`);
  const head = { ...VERSION, "Content-Type": "application/octet-stream", "Docker-Content-Digest": digest, "Accept-Ranges": "bytes" };
  if (request.method === "HEAD") {
    const size = await upstream.blobSize(repository, digest, signal);
    count("hit");
    return void response.writeHead(200, { ...head, ...(size === undefined ? {} : { "Content-Length": size }) }).end();
  }
  const client = request.headers[CACHE_CLIENT_HEADER]?.toString() ?? "";
  const blob = await upstream.blob(repository, digest, client, signal);
  count(blob.kind === "stored" ? "hit" : "miss");
  // A client that has left by now never begins to read: what counts is this response, and not the generator.
  try {
    await sendBlob(blob, head, { request, response, signal });
  } finally {
    if (blob.kind === "arriving") blob.leave();
  }
}

async function sendBlob(blob: ServedBlob, head: Record<string, string>, { request, response, signal }: Omit<BlobExchange, "count">): Promise<void> {
  const { size } = blob;
  const range = size === undefined ? undefined : rangeIn(request.headers.range, size);
  if (range === "beyond") {
    return void response.writeHead(416, { ...VERSION, "Content-Range": `bytes */${size}` }).end();
  }
  const { start, end } = range ?? { start: 0, end: size };
  response.writeHead(range ? 206 : 200, {
    ...head,
    ...(end === undefined ? {} : { "Content-Length": end - start }),
    ...(range ? { "Content-Range": `bytes ${start}-${range.end - 1}/${size}` } : {}),
  });
  if (end === start && blob.kind === "stored") return void response.end();
  const bytes =
    blob.kind === "stored" ? createReadStream(blob.file, { start, end: (end ?? blob.size) - 1 }) : Readable.from(blob.read(start, end, signal));
  await pipeline(bytes, response);
}

/** A tag or a digest: both become names of files. Faults: STORED_IMAGE_NOT_FOUND. */
function manifestReference(part: string): string {
  const reference = decodePart(part);
  if (reference.includes(":") ? isDigest(reference) : TAG.test(reference)) return reference;
  throw new Fault("STORED_IMAGE_NOT_FOUND", `${reference} is neither a tag nor a digest`);
}

/** What is no escaped text stays as it is. */
function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const TAG = /^\w[\w.-]{0,127}$/;

/** One range from `start` to before `end`, as clients send it to continue a layer. Undefined: the whole layer. */
function rangeIn(header: string | undefined, size: number): { start: number; end: number } | "beyond" | undefined {
  const [, first, last = ""] = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(header ?? "") ?? [];
  if (first === undefined) return undefined;
  const start = Number(first);
  const end = last === "" ? size : Math.min(size, Number(last) + 1);
  if (end <= start && start < size) return undefined;
  return start >= size ? "beyond" : { start, end };
}

/** Only the parameters of a page go to the upstream. */
function pageOf(query: string): string {
  const given = new URLSearchParams(query);
  const page = new URLSearchParams(["n", "last"].flatMap((name) => (given.has(name) ? [[name, given.get(name) ?? ""]] : [])));
  return page.size === 0 ? "" : `?${page.toString()}`;
}
