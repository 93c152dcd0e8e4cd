import { Fault } from "../../../fault.ts";
import type { AskHttp, Said } from "../upstream/ask-http.ts";
import { askUpstream } from "../upstream/ask-upstream.ts";
import { MANIFESTS } from "../upstream/manifest-digest.ts";
import type { RegistryBrowser } from "../../registry-browser.ts";
import type { Action, Upstream } from "../upstream/upstream.ts";
import { nextPage } from "./next-page.ts";
import { readImage } from "./read-image.ts";

/** Nobody reads more on a page, and an endless list must end. */
const MOST_NAMES = 10_000;
const PAGE = 500;

/** `http` and `upstream` are closed with it. */
export function openBrowser(upstream: Upstream, http: AskHttp): RegistryBrowser {
  const ask = (repository: string | undefined, action: Action, path: string, signal: AbortSignal, accept = "application/json") =>
    askUpstream(upstream, http, { repository, actions: [action], method: action === "delete" ? "DELETE" : "GET", path, accept, signal });

  /** All pages of a list; undefined where there is no such list. */
  const list = async (repository: string | undefined, first: string, field: "repositories" | "tags", signal: AbortSignal) => {
    const names: string[] = [];
    for (let path: string | undefined = first; path !== undefined && names.length < MOST_NAMES;) {
      const said = await ask(repository, "pull", path, signal);
      if (said.status === 404) return undefined;
      requireOk(said, upstream, repository);
      const body = readJson(said, upstream);
      const more = body[field];
      // An empty list is null at some registries.
      if (Array.isArray(more)) names.push(...more.filter((name) => typeof name === "string"));
      path = nextPage(said.header("link"));
    }
    return names.slice(0, MOST_NAMES);
  };

  const image = async (repository: string, reference: string, signal: AbortSignal) => {
    const base = upstream.nameOf(repository);
    const said = await ask(repository, "pull", `${base}/manifests/${encodeURIComponent(reference)}`, signal, MANIFESTS);
    if (said.status === 404) return undefined;
    requireOk(said, upstream, repository);
    const config = async (digest: string) => {
      const found = await ask(repository, "pull", `${base}/blobs/${digest}`, signal);
      // Not every artefact has one that is JSON.
      return found.status === 200 ? (jsonIn(found) ?? {}) : {};
    };
    return readImage({ said, manifest: readJson(said, upstream), config });
  };

  return {
    repositories: async (signal) => (await list(undefined, `_catalog?n=${PAGE}`, "repositories", signal)) ?? [],
    tags: (repository, signal) => list(repository, `${upstream.nameOf(repository)}/tags/list?n=${PAGE}`, "tags", signal),
    image,
    remove: async (repository, digest, signal) => {
      const said = await ask(repository, "delete", `${upstream.nameOf(repository)}/manifests/${digest}`, signal);
      if (said.status === 404) return false;
      if (said.status === 405) throw new Fault("REGISTRY_REFUSED", `The registry ${upstream.host} deletes nothing, or not now (405).`);
      requireOk(said, upstream, repository);
      return true;
    },
    close: async () => {
      await upstream.close();
      await http.close();
    },
  };
}

function requireOk({ status }: Said, { host }: Upstream, repository = "its list of repositories"): void {
  if (status >= 200 && status < 300) return;
  if (status === 401 || status === 403) throw new Fault("PULL_DENIED", `The registry ${host} does not let berth at ${repository} (${status}).`);
  throw new Fault("REGISTRY_UNREACHABLE", `The registry ${host} answered ${status} for ${repository}.`);
}

function readJson(said: Said, { host }: Upstream): Record<string, unknown> {
  const value = jsonIn(said);
  if (value === undefined) throw new Fault("REGISTRY_UNREACHABLE", `The registry ${host} answered with what is no JSON.`);
  return value;
}

function jsonIn({ body }: Said): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString("utf8"));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
