import type { Clock } from "../../../lib/clock.ts";
import { withTimeout } from "../../../lib/deadline.ts";
import { Fault } from "../../../lib/fault.ts";
import type { HttpClient, HttpReply } from "../../../lib/http-client.ts";
import { askUpstream } from "../upstream/ask-upstream.ts";
import { MANIFESTS } from "../upstream/manifest-digest.ts";
import type { RegistryBrowser } from "../../contract.ts";
import type { Action, Upstream } from "../upstream/upstream.ts";
import { parseReply } from "../../../lib/parse-reply.ts";
import { nextPage } from "../../../lib/registry-client/next-page.ts";
import { readImage } from "./read-image.ts";

/** Nobody reads more on a page, and an endless list must end. */
const MOST_NAMES = 10_000;
/** Users who may push write manifests and configurations; those of images have some kilobytes. */
const MAX_MANIFEST_BYTES = 1_048_576;
const PAGE = 500;
/** Some give fewer on a page than they are asked for; a list that leads back to its own beginning must end too. */
const MOST_PAGES = 200;
/** For all that one answer takes: a registry that says a word now and then is never silent for long enough. */
const ANSWER_MS = 30_000;

/** `http` and `upstream` are closed with it. */
export function openBrowser({ upstream, http, clock }: { upstream: Upstream; http: HttpClient; clock: Clock }): RegistryBrowser {
  const inTime = async <T>(signal: AbortSignal, question: (limited: AbortSignal) => Promise<T>): Promise<T> => {
    const overdue = () => new Fault("REGISTRY_TIMED_OUT", `The registry ${upstream.host} did not answer within ${ANSWER_MS / 1_000} s.`);
    return withTimeout({ clock, ms: ANSWER_MS, overdue, signal }, question);
  };
  const ask = (repository: string | undefined, action: Action, path: string, signal: AbortSignal, accept = "application/json") =>
    askUpstream(upstream, http, { repository, actions: [action], method: action === "delete" ? "DELETE" : "GET", path, accept, signal });

  /** All pages of a list; undefined where there is no such list. */
  const list = async (repository: string | undefined, first: string, field: "repositories" | "tags", signal: AbortSignal) => {
    const names = new Set<string>();
    let path: string | undefined = first;
    for (let page = 0; path !== undefined && page < MOST_PAGES && names.size < MOST_NAMES; page++) {
      const reply = await ask(repository, "pull", path, signal);
      if (reply.status === 404) return undefined;
      requireOk(reply, upstream, repository);
      const body = readJson(reply, upstream);
      const more = body[field];
      // An empty list is null at some registries.
      for (const name of Array.isArray(more) ? more : []) if (typeof name === "string") names.add(name);
      path = nextPage(reply.header("link"), path);
    }
    return [...names].slice(0, MOST_NAMES);
  };

  const image = async (repository: string, reference: string, signal: AbortSignal) => {
    const base = upstream.nameOf(repository);
    const reply = await ask(repository, "pull", `${base}/manifests/${encodeURIComponent(reference)}`, signal, MANIFESTS);
    if (reply.status === 404) return undefined;
    requireOk(reply, upstream, repository);
    if (reply.body.length > MAX_MANIFEST_BYTES) {
      const sentence = `The manifest ${repository}:${reference} has ${reply.body.length} bytes; ${MAX_MANIFEST_BYTES} are read.`;
      throw new Fault("REGISTRY_UNREACHABLE", sentence);
    }
    const config = async (digest: string) => {
      const found = await ask(repository, "pull", `${base}/blobs/${digest}`, signal);
      // Not every artefact has one that is JSON.
      return found.status === 200 && found.body.length <= MAX_MANIFEST_BYTES ? (jsonIn(found) ?? {}) : {};
    };
    return readImage({ reply, manifest: readJson(reply, upstream), config });
  };

  const remove = async (repository: string, digest: string, signal: AbortSignal) => {
    const reply = await ask(repository, "delete", `${upstream.nameOf(repository)}/manifests/${digest}`, signal);
    if (reply.status === 404) return false;
    if (reply.status === 405) throw new Fault("REGISTRY_REFUSED", `The registry ${upstream.host} deletes nothing, or not now (405).`);
    requireOk(reply, upstream, repository);
    return true;
  };

  return {
    repositories: (signal) => inTime(signal, async (limited) => (await list(undefined, `_catalog?n=${PAGE}`, "repositories", limited)) ?? []),
    tags: (repository, signal) =>
      inTime(signal, (limited) => list(repository, `${upstream.nameOf(repository)}/tags/list?n=${PAGE}`, "tags", limited)),
    image: (repository, reference, signal) => inTime(signal, (limited) => image(repository, reference, limited)),
    remove: (repository, digest, signal) => inTime(signal, (limited) => remove(repository, digest, limited)),
    close: async () => {
      await upstream.close();
      await http.close();
    },
  };
}

function requireOk({ status }: HttpReply, { host }: Upstream, repository = "its list of repositories"): void {
  if (status >= 200 && status < 300) return;
  if (status === 401 || status === 403) throw new Fault("PULL_DENIED", `The registry ${host} does not let berth at ${repository} (${status}).`);
  throw new Fault("REGISTRY_UNREACHABLE", `The registry ${host} answered ${status} for ${repository}.`);
}

function readJson(reply: HttpReply, { host }: Upstream): Record<string, unknown> {
  const value = jsonIn(reply);
  if (value === undefined)
    throw new Fault("REGISTRY_UNREACHABLE", `The registry ${host} answered with what is no JSON, or with more than can be meant.`);
  return value;
}

function jsonIn({ body }: HttpReply): Record<string, unknown> | undefined {
  const value = parseReply(body.toString("utf8"));
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}
