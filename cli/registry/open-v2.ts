import { trimTrailing } from "../../lib/character-classes.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import { type HttpReply, openHttpClient } from "../../lib/http-client.ts";
import { createRegistryClient, type RegistryAction } from "../../lib/registry-client/registry-client.ts";
import { buyToken } from "../../lib/registry-client/registry-login.ts";
import { type CommandContext, loadSettings } from "../command-context.ts";
import { parseJson } from "../../lib/parse-json.ts";
import type { SelectedServer } from "../server/server-command.ts";

/** The parts of a registry's API that the commands use. Faults: ENTITY_NOT_FOUND, NOT_PERMITTED, REGISTRY_UNREACHABLE, DEV_KEY_INVALID. */
export type V2 = {
  /** JSON. `path` begins below `/v2`. */
  get<T>(path: string, accept?: string): Promise<{ content: T; digest: string | undefined; bytes: number }>;
  /** All pages of a list, in the member `field`. */
  pages(path: string, field: string): Promise<string[]>;
  delete(path: string): Promise<void>;
};

const BY_STATUS: Readonly<Record<number, FaultCode>> = { 401: "NOT_PERMITTED", 403: "NOT_PERMITTED", 404: "ENTITY_NOT_FOUND" };
const TIMEOUT_MS = 30_000;
const MAX_BYTES = 64 * 1_048_576;
const PAGE = 1_000;
/** Against a registry whose pages form a loop. */
const MAX_PAGES = 1_000;

/** `key` buys tokens for the registry, only at its own domain. */
export function openV2({ host, key, clock }: { host: string; key: () => Promise<string>; clock: Clock }): V2 {
  const registry = new URL(`${isOnThisMachine(host) ? "http" : "https"}://${host}`);
  const http = openHttpClient({
    clock,
    maxBytes: MAX_BYTES,
    timeoutMs: TIMEOUT_MS,
    toFault: ({ kind, url, why, cause }) => {
      const sentence = kind === "overdue" ? `${host}: ${why}.` : `${url.host} cannot be reached (${why}).`;
      return new Fault("REGISTRY_UNREACHABLE", sentence, { cause });
    },
  });
  const tokens = new Map<string, string>();
  /** A client with a token per path. */
  const clientFor = (use: string) =>
    createRegistryClient({
      root: registry.origin,
      http,
      // A registry may redirect to another store of layers.
      redirects: { most: 1, check: (_from, to) => requireUrl(to, host) },
      credentials: {
        authorization: () => tokens.get(use),
        refused: async (_access, challenge) => {
          const result = await buyToken(challenge, {
            registry,
            login: { username: "any", password: await key() },
            loginFor: "same domain",
            parameters: { account: "any" },
            send: (url, headers) => http.request({ url, headers }),
          });
          if (result.kind === "refused" && result.status === 401)
            throw new Fault("DEV_KEY_INVALID", `The registry ${registry.host} does not know this developer key.`);
          if (result.kind !== "token") return undefined;
          tokens.set(use, result.authorization);
          return result.authorization;
        },
      },
    });
  const requireSuccess = (reply: HttpReply): HttpReply => {
    if (reply.status < 300) return reply;
    const { errors } = (parseJson(reply.text()) ?? {}) as { errors?: { message?: string }[] };
    const reason = errors?.[0]?.message ?? `it answered ${reply.status}`;
    const code = BY_STATUS[reply.status] ?? (reply.status >= 502 ? "REGISTRY_UNREACHABLE" : "REGISTRY_FAILED");
    throw new Fault(code, `The registry ${host} refuses: ${reason}.`);
  };
  const requestFor = (path: string, action: RegistryAction) => ({ repository: undefined, actions: [action], path: path.slice(1) });
  return {
    get: async <T>(path: string, accept = "application/json") => {
      const reply = requireSuccess(await clientFor(`GET ${path}`).send({ ...requestFor(path, "pull"), accept }));
      return { content: parseJson(reply.text()) as T, digest: reply.header("docker-content-digest"), bytes: reply.body.length };
    },
    pages: async (path, field) => {
      const read = (reply: HttpReply) => (parseJson(requireSuccess(reply).text()) ?? {}) as Record<string, unknown>;
      const request = { ...requestFor(`${path}?n=${PAGE}`, "pull"), accept: "application/json" };
      return (await clientFor(`GET ${path}`).names(request, { field, maxPages: MAX_PAGES, read })) ?? [];
    },
    delete: async (path) => {
      requireSuccess(await clientFor(`DELETE ${path}`).send({ ...requestFor(path, "delete"), method: "DELETE" }));
    },
  };
}

function requireUrl(to: URL | null, host: string): asserts to is URL {
  if (to === null) throw new Fault("REGISTRY_FAILED", `The registry ${host} redirects to an invalid URL.`);
}

/** For verbs that call a registry. */
export const REGISTRY_OPTION = {
  registry: { value: "<host>", summary: "the registry's host, and port; else that of the config file, or of this machine's berth" },
} as const;

/**
 * Host and port of a server's registry: the given one, else that of the config file, else, for this machine's berth, that of its settings. Undefined if
 * none is known.
 */
export function registryHostOf(context: CommandContext, server: SelectedServer, givenHost: string | undefined): string | undefined {
  const word = givenHost ?? server.registry;
  if (word !== undefined) return parseHost(word);
  if (!server.isLocal) return undefined;
  const { registry, registryHost, registryPort, dockerSettings } = loadSettings(context).settings;
  const { registryProxyHost: proxy, registryProxyPort: port } = dockerSettings;
  if (proxy !== "") return proxy.includes(":") ? proxy : `${proxy}:${port}`;
  if (registry.kind !== "embedded" && registry.url === undefined && !registry.ecrMode) return undefined;
  const host = /^(0\.0\.0\.0|::)$/.test(registryHost) ? "127.0.0.1" : registryHost;
  return `${host.includes(":") ? `[${host}]` : host}:${registryPort}`;
}

/** Without a scheme, as docker writes it. Faults: SETTINGS_INVALID. */
function parseHost(word: string): string {
  const host = trimTrailing(word.replace(/^https?:\/\//, ""), "/");
  if (/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:\d{1,5})?$/.test(host)) return host;
  throw new Fault("SETTINGS_INVALID", `${JSON.stringify(word)} is no registry. Write a host, and a port if needed, such as registry.example:5000.`);
}

/** Like docker, berth uses plain HTTP only for registries on this machine. */
export function isOnThisMachine(host: string): boolean {
  return /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/.test(host);
}
