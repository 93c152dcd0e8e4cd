import type { Clock } from "../../../lib/clock.ts";
import { withTimeout } from "../../../lib/deadline.ts";
import { Fault } from "../../../lib/fault.ts";
import { type HttpClient, type HttpReply, parseReply } from "../../../lib/http-client.ts";
import { MANIFEST_TYPES, type RegistryAction } from "../../../lib/registry-client/registry-client.ts";
import type { RegistryBrowser, StoredManifest } from "../../contract.ts";
import { type Upstream, upstreamClient } from "../upstream/upstream.ts";
import { digestOf, isDigest } from "../../../lib/registry-client/digest.ts";

/** More than a user reads on a page. It ends an endless list. */
const MOST_NAMES = 10_000;
/** Users write manifests and configurations. Those of images have some kilobytes. */
const MAX_MANIFEST_BYTES = 1_048_576;
const PAGE = 500;
/** Some registries send shorter pages than requested. The limit ends a list whose next page is its first one. */
const MOST_PAGES = 200;
/** For one call with all its requests: a registry that sends a byte now and then never reaches an idle timeout. */
const ANSWER_MS = 30_000;

/** `http` and `upstream` are closed with it. */
export function openBrowser({ upstream, http, clock }: { upstream: Upstream; http: HttpClient; clock: Clock }): RegistryBrowser {
  const limited = async <T>(signal: AbortSignal, call: (signal: AbortSignal) => Promise<T>): Promise<T> => {
    const overdue = () => new Fault("REGISTRY_TIMED_OUT", `The registry ${upstream.host} did not answer within ${ANSWER_MS / 1_000} s.`);
    return withTimeout({ clock, ms: ANSWER_MS, overdue, signal }, call);
  };
  const client = upstreamClient(upstream, http);
  const send = (repository: string | undefined, action: RegistryAction, path: string, signal: AbortSignal, accept = "application/json") =>
    client.send({ repository, actions: [action], method: action === "delete" ? "DELETE" : "GET", path, accept, signal });

  /** All pages of a list; undefined if there is no such list. */
  const list = (repository: string | undefined, path: string, field: "repositories" | "tags", signal: AbortSignal) => {
    const read = (reply: HttpReply) => {
      if (reply.status === 404) return undefined;
      requireOk(reply, upstream, repository);
      return readJson(reply, upstream);
    };
    const request = { repository, actions: ["pull"], path, accept: "application/json", signal } as const;
    return client.names(request, { field, maxPages: MOST_PAGES, maxNames: MOST_NAMES, read });
  };

  const image = async (repository: string, reference: string, signal: AbortSignal) => {
    const base = upstream.nameOf(repository);
    const reply = await send(repository, "pull", `${base}/manifests/${encodeURIComponent(reference)}`, signal, MANIFEST_TYPES);
    if (reply.status === 404) return undefined;
    requireOk(reply, upstream, repository);
    if (reply.body.length > MAX_MANIFEST_BYTES) {
      const sentence = `The manifest ${repository}:${reference} has ${reply.body.length} bytes; ${MAX_MANIFEST_BYTES} are read.`;
      throw new Fault("REGISTRY_UNREACHABLE", sentence);
    }
    const config = async (digest: string) => {
      const blob = await send(repository, "pull", `${base}/blobs/${digest}`, signal);
      // The configuration of an artifact need not be JSON.
      return blob.status === 200 && blob.body.length <= MAX_MANIFEST_BYTES ? (jsonIn(blob) ?? {}) : {};
    };
    return readImage({ reply, manifest: readJson(reply, upstream), config });
  };

  const remove = async (repository: string, digest: string, signal: AbortSignal) => {
    const reply = await send(repository, "delete", `${upstream.nameOf(repository)}/manifests/${digest}`, signal);
    if (reply.status === 404) return false;
    if (reply.status === 405) throw new Fault("REGISTRY_REFUSED", `The registry ${upstream.host} does not delete, or not now (405).`);
    requireOk(reply, upstream, repository);
    return true;
  };

  return {
    repositories: (signal) => limited(signal, async (inTime) => (await list(undefined, `_catalog?n=${PAGE}`, "repositories", inTime)) ?? []),
    tags: (repository, signal) => limited(signal, (inTime) => list(repository, `${upstream.nameOf(repository)}/tags/list?n=${PAGE}`, "tags", inTime)),
    image: (repository, reference, signal) => limited(signal, (inTime) => image(repository, reference, inTime)),
    remove: (repository, digest, signal) => limited(signal, (inTime) => remove(repository, digest, inTime)),
    close: async () => {
      await upstream.close();
      http.close();
    },
  };
}

function requireOk({ status }: HttpReply, { host }: Upstream, repository = "its list of repositories"): void {
  if (status >= 200 && status < 300) return;
  if (status === 401 || status === 403) throw new Fault("PULL_DENIED", `The registry ${host} denies berth ${repository} (${status}).`);
  throw new Fault("REGISTRY_UNREACHABLE", `The registry ${host} answered ${status} for ${repository}.`);
}

function readJson(reply: HttpReply, { host }: Upstream): Record<string, unknown> {
  const value = jsonIn(reply);
  if (value === undefined) throw new Fault("REGISTRY_UNREACHABLE", `The registry ${host} sent a reply that is not JSON, or too large.`);
  return value;
}

function jsonIn({ body }: HttpReply): Record<string, unknown> | undefined {
  const value = parseReply(body.toString("utf8"));
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}

/** Checked fields of a descriptor: any user who may push writes one, and a registry need not check it. */
type Descriptor = { digest: string; size: number; platform: string | undefined };

/** Layers of an image, or images of an index; engines take 127 layers. */
const MAX_DESCRIPTORS = 1_000;

/** Digests go into URLs: they have no character that would change the path. */

/** `config` loads a configuration by its digest; `{}` if it is not available. */
export async function readImage(source: {
  reply: HttpReply;
  manifest: Record<string, unknown>;
  config(digest: string): Promise<Record<string, unknown>>;
}): Promise<StoredManifest> {
  const { reply, manifest } = source;
  const layers = listOf(manifest["layers"]).map(({ digest, size }) => ({ digest, size }));
  const images = listOf(manifest["manifests"]).map(({ digest, size, platform }) => ({ digest, size, platform: platform ?? "unknown" }));
  const config = descriptorOf(manifest["config"]);
  const built = isDigest(config.digest) ? await source.config(config.digest) : {};
  return {
    digest: reply.header("docker-content-digest") ?? digestOf(reply.body),
    mediaType: textOf(manifest["mediaType"]) ?? reply.header("content-type") ?? "",
    size: sum(layers) + sum(images) + config.size,
    createdOn: textOf(built["created"]),
    platform: platformOf(built),
    layers,
    images,
  };
}

function listOf(value: unknown): Descriptor[] {
  return Array.isArray(value) ? value.slice(0, MAX_DESCRIPTORS).map(descriptorOf) : [];
}

function descriptorOf(value: unknown): Descriptor {
  const { digest, size, platform } = fieldsOf(value);
  return { digest: textOf(digest) ?? "", size: Number.isSafeInteger(size) ? Math.max(0, Number(size)) : 0, platform: platformOf(fieldsOf(platform)) };
}

function sum(descriptors: readonly { size: number }[]): number {
  return descriptors.reduce((all, { size }) => all + size, 0);
}

function platformOf({ os, architecture, variant }: Record<string, unknown>): string | undefined {
  const [system, processor, kind] = [textOf(os), textOf(architecture), textOf(variant)];
  if (system === undefined || processor === undefined) return undefined;
  return [system, processor, ...(kind === undefined || kind === "" ? [] : [kind])].join("/");
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
