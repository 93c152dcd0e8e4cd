import { existsSync, readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import type { RequestOptions } from "node:https";
import { join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import WebSocket from "ws";
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import { type HttpReply, openHttpClient } from "../../lib/http-client.ts";
import { unansweredFault } from "../faults.ts";
import { mayBeCold, mayPass, namesMissingRoles, Refusal, refusalOf, refusedFault, unreachable } from "./faults.ts";

/** The time limit of every call except streams. */
const CALL_MS = 30_000;
/** A busy API server sends a delay. After this many attempts its refusal is final. */
const ATTEMPTS = 4;
const BUSY_MS = { first: 1_000, longest: 10_000 };
/** A server that starts denies or fails calls for some seconds: for so long after a connection broke, neither is final. */
const COLD_MS = 15_000;
const COLD_RETRY_MS = { first: 250, longest: 2_000 };

/** The API server records which fields berth has set under this name. */
const MANAGER = "berth";
/** A list of a thousand pods has some ten megabytes. */
const MAX_BYTES = 256 * 1_048_576;
/** Detects a vanished server, which looks like a cluster without events. */
const PROBE_MS = 15_000;

type ClusterCall = {
  /** Begins the sentence of a fault, such as "Stopping x". */
  doing: string;
  verb: KubernetesVerb;
  resource: Resource | ReviewResource;
  name?: string;
  part?: ResourcePart;
  /** A list is a parameter that is repeated. */
  query?: Record<string, string | readonly string[]>;
  body?: object;
  /** Undefined for a call whose abort would leave something behind. */
  signal?: AbortSignal | undefined;
};

export type KubernetesApi = {
  /** Host and port of the API, for messages. */
  at: string;
  namespace: string;
  /** berth runs in a pod of the cluster. */
  inside: boolean;
  clock: Clock;
  /** One bounded, cancellable call. Rejects with a `Fault`, whose cause is a `Refusal` if the API answered. */
  call<T>(call: ClusterCall): Promise<T>;
  /** The same with a stream as response. The time limit is for its head; the stream ends with the caller's signal. */
  open(call: ClusterCall & { signal: AbortSignal }): Promise<IncomingMessage>;
  /** The same with a WebSocket of this subprotocol, which its opener closes. The signal ends the call alone. */
  connect(call: ClusterCall & { signal: AbortSignal; subprotocol: string }): Promise<WebSocket>;
};

/** What an attempt needs, with berth's credentials. */
type PreparedCall = { url: URL; headers: Record<string, string>; connection: Omit<RequestOptions, "headers"> };
/** `read` is the body of a refusal. */
type Attempted<T> = { status: number; read(): Promise<Pick<HttpReply, "status" | "header" | "text">>; result: T };

/** Opens no connection yet. Faults: SETTINGS_INVALID. */
export function openCluster(at: ConfigPlace & { namespace?: string | undefined }, clock: Clock): KubernetesApi {
  let access = loadConfig(at);
  const namespace = at.namespace ?? access.namespace;
  let hasAnswered = false;
  /** When a connection broke last. Monotonic milliseconds. */
  let brokenOn = -Infinity;

  const http = openHttpClient({
    clock,
    maxBytes: MAX_BYTES,
    timeoutMs: CALL_MS,
    keepAliveProbeMs: PROBE_MS,
    // `bounded` translates it.
    toFault: ({ why, cause }) => (cause instanceof Error ? cause : new Error(why)),
  });
  const prepare = async (call: ClusterCall, headers: Record<string, string>): Promise<PreparedCall> => {
    const { server, config } = access;
    const url = new URL(server.pathname.replace(/\/$/, "") + pathOf(namespace, call.resource, call.name, call.part), server);
    for (const [name, values] of Object.entries(call.query ?? {})) for (const value of [values].flat()) url.searchParams.append(name, value);
    if (call.verb === "apply" || call.verb === "create") {
      url.searchParams.set("fieldManager", MANAGER);
      url.searchParams.set("fieldValidation", "Strict");
    }
    const options: RequestOptions & { headers: Record<string, string> } = { headers: { "user-agent": MANAGER, ...headers } };
    await config.applyToHTTPSOptions(options);
    const { headers: withCredentials, ...connection } = options;
    return { url, headers: withCredentials, connection };
  };
  const attemptRequest = async (call: ClusterCall, signal: AbortSignal): Promise<Attempted<IncomingMessage>> => {
    // JSON is valid YAML, which this content type requires.
    const type = call.verb === "apply" ? "application/apply-patch+yaml" : "application/json";
    const body = call.body && JSON.stringify(call.body);
    const { url, headers, connection } = await prepare(call, {
      accept: "application/json, */*",
      ...(body === undefined ? {} : { "content-type": type }),
    });
    const response = await http.stream({ method: VERBS[call.verb], url, headers, body, signal, options: connection });
    return { ...response, result: response.stream };
  };

  /** Resolves with a response below 400. */
  const withRetries = async <T>(call: ClusterCall, signal: AbortSignal, attempt: () => Promise<Attempted<T>>): Promise<Attempted<T>> => {
    const began = clock.monotonic();
    const coldDelays = createBackoff(COLD_RETRY_MS.first, COLD_RETRY_MS.longest);
    for (let tries = 1, reloaded = false; ;) {
      const response = await attempt();
      hasAnswered = true;
      if (response.status < 400) return response;
      const refusal = refusalOf(await response.read(), clock.now());
      const isCold = mayBeCold(refusal) && clock.monotonic() - (namesMissingRoles(refusal) ? began : brokenOn) < COLD_MS;
      if (refusal.status === 401 && !reloaded) {
        // Credential files change, and credential programs return new ones.
        access = loadConfig(at);
        reloaded = true;
      } else if (isCold) await clock.sleep(coldDelays.next(), signal);
      else if (mayPass(refusal, call.verb) && tries < ATTEMPTS) {
        const ms = Math.min(Math.max(refusal.retryAfterMs ?? 0, BUSY_MS.first * tries), BUSY_MS.longest);
        await clock.sleep(ms, signal);
        tries++;
      } else throw refusal;
    }
  };

  const bounded = async <T>({ doing, verb, resource, part, signal }: ClusterCall, task: (own: AbortSignal) => Promise<T>): Promise<T> => {
    const overdue = () => unansweredFault(`${doing}: the Kubernetes API did not answer within ${CALL_MS / 1_000} s.`);
    try {
      return await withTimeout({ clock, ms: CALL_MS, overdue, signal }, task);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (error instanceof Fault) throw error;
      if (!(error instanceof Refusal)) {
        brokenOn = clock.monotonic();
        throw unreachable(error, { doing, at: access.server.host, hasAnswered });
      }
      throw refusedFault(error, { doing, verb, resource: part ? `${resource}/${part}` : resource, namespace });
    }
  };

  return {
    at: access.server.host,
    namespace,
    inside: access.inside,
    clock,
    call: <T>(call: ClusterCall) =>
      bounded(call, async (own) => JSON.parse((await (await withRetries(call, own, () => attemptRequest(call, own))).read()).text()) as T),
    open: (call) =>
      bounded(call, async (own) => {
        const lasting = AbortSignal.any([own, call.signal]);
        const { result: stream } = await withRetries(call, lasting, () => attemptRequest(call, lasting));
        stream.once("error", () => {
          if (!call.signal.aborted) brokenOn = clock.monotonic();
        });
        return stream;
      }),
    connect: (call) =>
      bounded(call, async (own) => (await withRetries(call, own, async () => attemptUpgrade(await prepare(call, {}), call.subprotocol, own))).result),
  };
}

/** Above the API server's own messages of 32 KiB. */
const MAX_MESSAGE_BYTES = 1_048_576;
const MAX_REFUSAL_BYTES = 65_536;

function attemptUpgrade({ url, headers, connection }: PreparedCall, subprotocol: string, signal: AbortSignal): Promise<Attempted<WebSocket>> {
  const { promise, resolve, reject } = Promise.withResolvers<Attempted<WebSocket>>();
  const socket = new WebSocket(url, [subprotocol], { ...connection, headers, perMessageDeflate: false, maxPayload: MAX_MESSAGE_BYTES });
  const abort = () => {
    reject(signal.reason);
    socket.terminate();
  };
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort);
  void promise.catch(() => undefined).finally(() => signal.removeEventListener("abort", abort));
  socket.once("upgrade", (response) => response.socket.setKeepAlive(true, PROBE_MS));
  socket.once("open", () => {
    // Nothing is lost before its owner listens.
    socket.pause();
    resolve({ status: 101, read: () => Promise.reject(new Error("an upgrade has no body")), result: socket });
  });
  socket.once("unexpected-response", (_request, response) => {
    const { statusCode: status = 0, headers: ofResponse } = response;
    const read = async () => {
      let text = "";
      for await (const piece of response.setEncoding("utf8") as AsyncIterable<string>) {
        text += piece;
        if (text.length > MAX_REFUSAL_BYTES) break;
      }
      socket.terminate();
      return { status, header: (name: string) => [ofResponse[name]].flat().join(",") || undefined, text: () => text };
    };
    // Refused or not: without an upgrade there is no WebSocket.
    resolve({ status: Math.max(status, 400), read, result: socket });
  });
  socket.on("error", reject);
  return promise;
}

/** The kubelet mounts this into every pod with a service account. */
const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

type ConfigPlace = {
  /** Path of a kubeconfig. If undefined, berth runs in the cluster with the service account of its pod. */
  kubeconfig?: string | undefined;
  /** Prefix of the paths of the service account's files. */
  root?: string | undefined;
};

type ClusterAccess = { config: KubeConfig; server: URL; inside: boolean; namespace: string };

/**
 * The cluster's address and berth's credentials. The client library supports everything that a kubeconfig may name: tokens, token files, client
 * certificates, credential programs, proxies. Faults: SETTINGS_INVALID.
 */
function loadConfig({ kubeconfig, root = "" }: ConfigPlace): ClusterAccess {
  const config = new KubeConfig();
  const inside = kubeconfig === undefined;
  if (inside) {
    if (!existsSync(join(root, SERVICE_ACCOUNT, "token"))) {
      throw new Fault(
        "SETTINGS_INVALID",
        `The driver "kubernetes" has no service account (${SERVICE_ACCOUNT}/token): outside a cluster, name a kubeconfig in GROK_SPAWNER_KUBERNETES__KUBECONFIG.`,
      );
    }
    // Takes the address from KUBERNETES_SERVICE_HOST and _PORT, which the kubelet sets.
    config.loadFromCluster(root);
  } else loadFile(config, kubeconfig);
  const cluster = config.getCurrentCluster();
  const server = cluster && URL.parse(cluster.server);
  if (!server || !config.getCurrentUser()) {
    const where = inside
      ? "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT name no address"
      : `${kubeconfig} names no context with a cluster and a user`;
    throw new Fault("SETTINGS_INVALID", `The driver "kubernetes" has no cluster: ${where}.`);
  }
  if (server.protocol === "http:" && !cluster.skipTLSVerify) {
    throw new Fault("SETTINGS_INVALID", `The cluster's URL http://${server.host} has no TLS: use https, or set insecure-skip-tls-verify.`);
  }
  const context = config.getContextObject(config.getCurrentContext());
  return { config, server, inside, namespace: context?.namespace?.trim() || "default" };
}

function loadFile(config: KubeConfig, path: string): void {
  try {
    // Read separately, to distinguish a missing file from an invalid one.
    readFileSync(path);
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `The kubeconfig ${path} (GROK_SPAWNER_KUBERNETES__KUBECONFIG) cannot be read.`, { cause });
  }
  try {
    config.loadFromFile(path);
  } catch {
    // No cause: the parser's message quotes the invalid line, which may hold a token.
    throw new Fault("SETTINGS_INVALID", `The kubeconfig ${path} (GROK_SPAWNER_KUBERNETES__KUBECONFIG) is not valid.`);
  }
}

/** The only kinds of objects that the driver uses. */
export const RESOURCES = {
  deployments: { group: "apps", apiVersion: "apps/v1", kind: "Deployment" },
  replicasets: { group: "apps", apiVersion: "apps/v1", kind: "ReplicaSet" },
  services: { group: "", apiVersion: "v1", kind: "Service" },
  secrets: { group: "", apiVersion: "v1", kind: "Secret" },
  pods: { group: "", apiVersion: "v1", kind: "Pod" },
  /** Of the metrics server, if the cluster has one. Its resource is `pods` too. */
  podmetrics: { group: "metrics.k8s.io", apiVersion: "metrics.k8s.io/v1beta1", kind: "PodMetrics" },
} as const;

export type Resource = keyof typeof RESOURCES;

/** Reviews answer what an account may do. Creating one is the query; the cluster keeps none. */
export const REVIEWS = {
  selfsubjectaccessreviews: { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview" },
} as const;

export type ReviewResource = keyof typeof REVIEWS;

/** The API's verbs, as RBAC has them. `apply` is a patch, which also needs the right to create where the object may not exist. */
const VERBS = {
  get: "GET",
  list: "GET",
  watch: "GET",
  create: "POST",
  apply: "PATCH",
  deletecollection: "DELETE",
} as const;

export type KubernetesVerb = keyof typeof VERBS;

type ResourcePart = "log" | "exec";
type KubernetesRight = { resource: Resource; part?: ResourcePart; verbs: readonly string[] };

/** The rights that the driver needs in its namespace, as RBAC names them. `conf/kubernetes/rbac.yaml` grants these. */
export const RIGHTS: readonly KubernetesRight[] = [
  { resource: "deployments", verbs: ["get", "list", "create", "deletecollection"] },
  { resource: "replicasets", verbs: ["deletecollection"] },
  { resource: "services", verbs: ["get", "create", "patch", "deletecollection"] },
  { resource: "secrets", verbs: ["get", "create", "patch", "deletecollection"] },
  { resource: "pods", verbs: ["list", "watch", "deletecollection"] },
  { resource: "pods", part: "log", verbs: ["get"] },
  { resource: "podmetrics", verbs: ["list"] },
];

/** With `BERTH_SHELL=on`: `conf/kubernetes/rbac-shell.yaml` grants these. Servers demand `get`, and from 1.35 on `create` too. */
export const SHELL_RIGHTS: readonly KubernetesRight[] = [{ resource: "pods", part: "exec", verbs: ["get", "create"] }];

/** The resource's name in paths and rights. */
export function resourceName(resource: Resource | ReviewResource): string {
  return resource === "podmetrics" ? "pods" : resource;
}

/** The path of a collection, or of one object in it; `part` is a subresource. */
export function pathOf(namespace: string, resource: Resource | ReviewResource, name?: string, part?: string): string {
  const isReview = isIn(REVIEWS, resource);
  const { apiVersion } = isReview ? REVIEWS[resource] : RESOURCES[resource];
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return [root, ...(isReview ? [] : ["namespaces", namespace]), resourceName(resource), name, part]
    .filter((step) => step !== undefined)
    .map(stepOf)
    .join("/");
}

function isIn<T extends object>(table: T, name: PropertyKey): name is keyof T {
  return Object.hasOwn(table, name);
}

/** The first step has slashes of its own. */
function stepOf(step: string, at: number): string {
  return at === 0 ? step : encodeURIComponent(step);
}
