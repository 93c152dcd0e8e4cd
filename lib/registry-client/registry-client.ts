import type { HttpClient, HttpReply, HttpRequest } from "../http-client.ts";
import { challengeIn } from "./registry-login.ts";

/** Media types of manifests. Indexes first: their digest is the one that an engine knows an image by. */
const INDEX_TYPES = ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
export const IMAGE_TYPES = ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
export const MANIFEST_TYPES: string = [...INDEX_TYPES, ...IMAGE_TYPES].join(", ");

export type RegistryAction = "pull" | "push" | "delete";

/** A repository and the actions on it; undefined for `/v2/` (no actions) and `_catalog` (`pull`; a token then needs `registry:catalog:*`). */
export type RepositoryAccess = { repository: string | undefined; actions: readonly RegistryAction[] };

type RegistryRequest = RepositoryAccess & {
  method?: "GET" | "HEAD" | "DELETE";
  /** Below /v2/, with its query. */
  path: string;
  accept?: string;
  signal?: AbortSignal;
};

/** How a client signs in to a registry. */
export type RegistryCredentials = {
  /** The `Authorization` to send; undefined for none. */
  authorization(access: RepositoryAccess, signal: AbortSignal): string | undefined | Promise<string | undefined>;
  /** The registry refused it with this challenge. Resolves with another one to try once, or undefined. */
  refused(access: RepositoryAccess, challenge: string | undefined, signal: AbortSignal): Promise<string | undefined>;
};

/** https://github.com/opencontainers/distribution-spec */
export type RegistryClient = {
  /** Sends a request, and repeats it once with another authorization after a 401. The reply may have any status. */
  send(request: RegistryRequest): Promise<HttpReply>;
  /**
   * The names on all pages of a list, in the member `field`. `read` gets the JSON object of a page. It throws for a refusal, and returns undefined if
   * there is no such list.
   */
  names(
    request: RegistryRequest,
    list: { field: string; maxPages: number; maxNames?: number; read(reply: HttpReply): Record<string, unknown> | undefined },
  ): Promise<string[] | undefined>;
};

/** Rules for the redirects of a registry. */
type RedirectPolicy = {
  most: number;
  /** Throws a fault if a redirect must not be followed; `to` is null if it is not a URL. */
  check(from: URL, to: URL | null): asserts to is URL;
};

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export function createRegistryClient(parts: {
  /** What `/v2/` is appended to. */
  root: string;
  http: Pick<HttpClient, "request">;
  credentials: RegistryCredentials;
  /** Without it, a redirect is a reply. */
  redirects?: RedirectPolicy;
  /** The address to connect to, for example one that was checked. */
  connection?(url: URL, signal: AbortSignal): Promise<Pick<HttpRequest, "address">>;
}): RegistryClient {
  const { root, http, credentials, redirects, connection } = parts;
  const send = async (request: RegistryRequest): Promise<HttpReply> => {
    const { method = "GET", path, repository, actions, accept, signal = new AbortController().signal } = request;
    const access = { repository, actions };
    const first = new URL(`${root}/v2/${path}`);
    const sendTo = async (url: URL, authorization: string | undefined) =>
      http.request({ method, url, headers: { accept, authorization }, signal, ...(await connection?.(url, signal)) });
    let authorization = await credentials.authorization(access, signal);
    let reply = await sendTo(first, authorization);
    if (reply.status === 401) {
      authorization = await credentials.refused(access, challengeIn(reply), signal);
      if (authorization !== undefined) reply = await sendTo(first, authorization);
    }
    if (redirects === undefined || method !== "GET") return reply;
    const follow: RedirectPolicy = redirects;
    for (let hops = 0; REDIRECTS.has(reply.status) && hops < follow.most; hops++) {
      const to = URL.parse(reply.header("location") ?? "", first.href);
      follow.check(first, to);
      // The credentials are for the registry alone.
      reply = await sendTo(to, to.host === first.host ? authorization : undefined);
    }
    return reply;
  };
  return {
    send,
    names: async (request, { field, maxPages, maxNames = Number.POSITIVE_INFINITY, read }) => {
      const names = new Set<string>();
      let path: string | undefined = request.path;
      for (let page = 0; path !== undefined && page < maxPages && names.size < maxNames; page++) {
        const reply = await send({ ...request, path });
        const body = read(reply);
        if (body === undefined) return undefined;
        const values = body[field];
        // An empty list is null at some registries.
        for (const name of Array.isArray(values) ? values : []) if (typeof name === "string") names.add(name);
        path = nextPage(reply.header("link"), path);
      }
      return [...names].slice(0, maxNames);
    },
  };
}

/**
 * The path below /v2/ of the next page, from `Link: </v2/_catalog?last=x&n=500>; rel="next"`; undefined on the last one. `path` is that of the page
 * before, the base of a relative address. Only its path counts: a registry does not get to send berth's credential elsewhere. Source: OCI Distribution Specification, "Listing Tags".
 */
export function nextPage(link: string | undefined, path: string): string | undefined {
  const address = addressOfNext(link ?? "");
  const next = address === undefined ? null : URL.parse(address, `http://registry/v2/${path}`);
  if (next === null) return undefined;
  const { pathname, search } = next;
  const at = pathname.indexOf("/v2/");
  return at < 0 ? undefined : pathname.slice(at + "/v2/".length) + search;
}

/** Reads each part of the header once. A comma may be within an address, but not in its parameters. */
function addressOfNext(link: string): string | undefined {
  for (let open = link.indexOf("<"); open >= 0;) {
    const close = link.indexOf(">", open);
    if (close < 0) return undefined;
    const comma = link.indexOf(",", close);
    const end = comma < 0 ? link.length : comma;
    const parameters = link.slice(close + 1, end);
    if (/^\s*;/.test(parameters) && /\brel="?next/i.test(parameters)) return link.slice(open + 1, close);
    open = link.indexOf("<", end);
  }
  return undefined;
}

/**
 * Whether an object in this JSON has a key twice. JavaScript takes the last value; Go, in which registries and engines are written, decodes a second list into the
 * elements of the first one, and keeps the fields that it does not name.
 */
export function repeatsKeys(text: string, parsed: unknown): boolean {
  let read = 0;
  const values = [parsed];
  for (let value = values.pop(); value !== undefined; value = values.pop()) {
    if (typeof value !== "object" || value === null) continue;
    if (!Array.isArray(value)) read += Object.keys(value).length;
    for (const one of Object.values(value) as unknown[]) if (typeof one === "object" && one !== null) values.push(one);
  }
  return read !== countKeys(text);
}

/** Of valid JSON: the colons outside of strings. */
function countKeys(text: string): number {
  let keys = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === COLON) keys++;
    else if (code === QUOTE) for (at++; at < text.length && text.charCodeAt(at) !== QUOTE; at++) if (text.charCodeAt(at) === BACKSLASH) at++;
  }
  return keys;
}

const QUOTE = 0x22;
const COLON = 0x3a;
const BACKSLASH = 0x5c;

/** The compressed layers of an image by its manifest, which any user who may push writes. Undefined for an index, and for schema 1, which has no sizes. */
export function layerBytes({ layers }: { layers?: unknown }): number | undefined {
  if (!Array.isArray(layers)) return undefined;
  return (layers as ({ size?: unknown } | null)[]).reduce(
    (sum, layer) => sum + (Number.isSafeInteger(layer?.size) ? Math.max(0, Number(layer?.size)) : 0),
    0,
  );
}
