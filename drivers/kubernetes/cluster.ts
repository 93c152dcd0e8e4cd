import type { IncomingMessage } from "node:http";
import type { RequestOptions } from "node:https";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type HttpStream, openHttpClient } from "../../lib/http-client.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { unansweredFault } from "../faults.ts";
import { mayPass, refusalOf, refusedFault, Refusal, unreachable } from "./faults.ts";
import { pathOf, type ReviewResource, type Resource, type KubernetesVerb, VERBS } from "./resources.ts";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";

/** Every call that is not a stream answers within this, or the cluster counts as unreachable. */
const CALL_MS = 30_000;
/** A busy API server says when to come again; more often than this, it has had its say. */
const ATTEMPTS = 4;
const BUSY_MS = { first: 1_000, longest: 10_000 };

/** Under which name the API server keeps what berth has set, apart from what others have. */
const MANAGER = "berth";
/** A list of a thousand pods has some ten megabytes. */
const MAX_BYTES = 256 * 1_048_576;
/** A server that vanished would otherwise look like a cluster where nothing happens. */
const PROBE_MS = 15_000;

export type ClusterCall = {
  /** Begins the sentence of a fault, such as "Stopping x". */
  doing: string;
  verb: KubernetesVerb;
  resource: Resource | ReviewResource;
  name?: string;
  part?: "log";
  query?: Record<string, string>;
  body?: object;
  /** Left out by a caller who says that being cut off in the middle would leave something behind. */
  signal?: AbortSignal | undefined;
};

export type KubernetesApi = {
  /** Host and port of the API, for people. */
  at: string;
  namespace: string;
  /** Berth runs in a pod of the cluster itself. */
  inside: boolean;
  clock: Clock;
  /** One bounded, cancellable call. Rejects with a `Fault` whose cause is a `Refusal` where the API answered, or with the signal's reason. */
  ask<T>(asked: ClusterCall): Promise<T>;
  /** The same, but the answer is a stream: the limit is on its head, after which it has none but the caller's signal. */
  open(asked: ClusterCall & { signal: AbortSignal }): Promise<IncomingMessage>;
};

/** Opens no connection yet. Faults: SETTINGS_INVALID. */
export function openCluster(at: ConfigAt & { namespace?: string | undefined }, clock: Clock): KubernetesApi {
  let read = readConfig(at);
  const namespace = at.namespace ?? read.namespace;

  const http = openHttpClient({
    clock,
    maxBytes: MAX_BYTES,
    timeoutMs: CALL_MS,
    keepAliveProbeMs: PROBE_MS,
    // `bounded` translates it.
    toFault: ({ why, cause }) => (cause instanceof Error ? cause : new Error(why)),
  });
  const attempt = async (asked: ClusterCall, signal: AbortSignal): Promise<HttpStream> => {
    const { server, config } = read;
    const url = new URL(server.pathname.replace(/\/$/, "") + pathOf(namespace, asked.resource, asked.name, asked.part), server);
    for (const [name, value] of Object.entries(asked.query ?? {})) url.searchParams.set(name, value);
    if (asked.verb === "apply") {
      url.searchParams.set("fieldManager", MANAGER);
      url.searchParams.set("fieldValidation", "Strict");
    }
    // JSON is YAML, which this content type asks for.
    const type = asked.verb === "apply" ? "application/apply-patch+yaml" : "application/json";
    const body = asked.body && JSON.stringify(asked.body);
    const options: RequestOptions & { headers: Record<string, string> } = {
      headers: { accept: "application/json, */*", "user-agent": MANAGER, ...(body === undefined ? {} : { "content-type": type }) },
    };
    await config.applyToHTTPSOptions(options);
    const { headers, ...connection } = options;
    return http.stream({ method: VERBS[asked.verb], url, headers, body, signal, options: connection });
  };

  /** Resolves with an answer below 400. */
  const persist = async (asked: ClusterCall, signal: AbortSignal): Promise<HttpStream> => {
    for (let tries = 1, renewed = false; ;) {
      const answer = await attempt(asked, signal);
      if (answer.status < 400) return answer;
      const refusal = refusalOf(await answer.read());
      if (refusal.status === 401 && !renewed) {
        // Credentials change on the disk, and programs that fetch them make new ones.
        read = readConfig(at);
        renewed = true;
      } else if (mayPass(refusal, asked.verb) && tries < ATTEMPTS) {
        const ms = Math.min(Math.max(refusal.retryAfterMs ?? 0, BUSY_MS.first * tries), BUSY_MS.longest);
        await clock.sleep(ms, signal);
        tries++;
      } else throw refusal;
    }
  };

  const bounded = async <T>(asked: ClusterCall, task: (own: AbortSignal) => Promise<T>): Promise<T> => {
    const { doing, verb, resource, part, signal } = asked;
    const overdue = () => unansweredFault(`${doing}: the Kubernetes API did not answer within ${CALL_MS / 1_000} s.`);
    try {
      return await withTimeout({ clock, ms: CALL_MS, overdue, signal }, task);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (error instanceof Fault) throw error;
      if (!(error instanceof Refusal)) throw unreachable(error, doing, read.server.host);
      throw refusedFault(error, { doing, verb, resource: part ? `${resource}/${part}` : resource, namespace });
    }
  };

  return {
    at: read.server.host,
    namespace,
    inside: read.inside,
    clock,
    ask: <T>(asked: ClusterCall) => bounded(asked, async (own) => JSON.parse((await (await persist(asked, own)).read()).text()) as T),
    open: (asked) => bounded(asked, async (own) => (await persist(asked, AbortSignal.any([own, asked.signal]))).stream),
  };
}

/** What the kubelet puts into every pod that has a service account. */
const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

export type ConfigAt = {
  /** Path of a kubeconfig; where undefined, berth runs in the cluster, as the service account of its pod. */
  kubeconfig?: string | undefined;
  /** Put before the paths of the service account's files; for who has them elsewhere. */
  root?: string | undefined;
};

export type ReadConfig = { config: KubeConfig; server: URL; inside: boolean; namespace: string };

/**
 * Who berth is at the cluster, and where that is. The client's library reads kubeconfigs with all that they may name: tokens and their files, client
 * certificates, programs that fetch either, proxies. Faults: SETTINGS_INVALID.
 */
export function readConfig({ kubeconfig, root = "" }: ConfigAt): ReadConfig {
  const config = new KubeConfig();
  const inside = kubeconfig === undefined;
  if (inside) {
    if (!existsSync(join(root, SERVICE_ACCOUNT, "token"))) {
      throw new Fault(
        "SETTINGS_INVALID",
        `The driver "kubernetes" found no service account (${SERVICE_ACCOUNT}/token): outside a cluster, name a kubeconfig in GROK_SPAWNER_KUBERNETES__KUBECONFIG.`,
      );
    }
    // Takes the address from KUBERNETES_SERVICE_HOST and _PORT, which the kubelet sets.
    config.loadFromCluster(root);
  } else load(config, kubeconfig);
  const cluster = config.getCurrentCluster();
  const server = cluster && URL.parse(cluster.server);
  if (!server || !config.getCurrentUser()) {
    const where = inside
      ? "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT name no address"
      : `${kubeconfig} names no context with a cluster and a user`;
    throw new Fault("SETTINGS_INVALID", `The driver "kubernetes" knows no cluster: ${where}.`);
  }
  if (server.protocol === "http:" && !cluster.skipTLSVerify) {
    throw new Fault(
      "SETTINGS_INVALID",
      `The cluster at ${server.host} is named with http, which its client takes with insecure-skip-tls-verify only.`,
    );
  }
  const context = config.getContextObject(config.getCurrentContext());
  return { config, server, inside, namespace: context?.namespace?.trim() || "default" };
}

function load(config: KubeConfig, path: string): void {
  try {
    // Read apart, so that a file that is not there is told from one that cannot be understood.
    readFileSync(path);
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `The kubeconfig ${path} (GROK_SPAWNER_KUBERNETES__KUBECONFIG) cannot be read.`, { cause });
  }
  try {
    config.loadFromFile(path);
  } catch {
    // No cause: the parser's message quotes the line that it stumbled over, which may hold a token.
    throw new Fault("SETTINGS_INVALID", `The kubeconfig ${path} (GROK_SPAWNER_KUBERNETES__KUBECONFIG) is not one.`);
  }
}
