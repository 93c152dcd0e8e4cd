import { createServer, type IncomingHttpHeaders, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import type { Test } from "tap";
import { systemClock, type Clock } from "../../../lib/clock.ts";
import type { ForwardTarget } from "../../../gateway/decision.ts";
import type { ManifestChange } from "../../../gateway/registry/decide.ts";
import { datagrokIdentity } from "../../../gateway/api-backend.ts";
import { openRegistryProxy, type RegistryProxyOptions } from "../../../gateway/registry/open-registry-proxy.ts";
import type { Upstream } from "../../../gateway/registry/upstream/upstream.ts";
import { createTrustedProxies } from "../../../gateway/trusted-proxies.ts";
import { openLog } from "../../../lib/log.ts";
import type { KeyHabits } from "../../../lib/jwks/key-set.ts";
import { DEV_KEY, openTokenServer, SERVICE, type TokenServer } from "./token-server.ts";
import { DEFAULT_LIMITS } from "../../fixtures/gateway-limits.ts";
import type { GatewayLimits } from "../../../gateway/limits.ts";
import { listen } from "../../fixtures/server.ts";

export type RegistryFixture = {
  host: string;
  base: string;
  port: number;
  tokens: TokenServer;
  pushed: ManifestChange[];
  /** How many clients' connections are open. */
  connections(): Promise<number>;
  /** A token for these scopes, as docker would get it. */
  token(...scopes: string[]): Promise<string>;
  /** Calls with a token for these scopes; `path` begins with `/v2/`. Follows no redirect. */
  call(path: string, init?: RequestInit & { scopes?: string[]; duplex?: "half" }): Promise<Response>;
};

export type StandOptions = Partial<Omit<RegistryProxyOptions, "trusted" | "upstream" | "limits">> & {
  trusted?: string[];
  limits?: Partial<GatewayLimits>;
  clock?: Clock;
  upstream?: Upstream;
  keys?: KeyHabits;
};

/** The proxy on a port of its own in front of a registry, with a token server of the test's. */
export async function openStand(t: Test, registry: { port: number }, options: StandOptions = {}): Promise<RegistryFixture> {
  const tokens = await openTokenServer(t);
  const pushed: ManifestChange[] = [];
  const remote = datagrokIdentity(tokens.url, systemClock());
  const identity = { ...remote, keys: options.keys ?? remote.keys };
  const proxy = openRegistryProxy({
    identity,
    service: SERVICE,
    anonymousPull: true,
    redirects: "pass",
    redirectHosts: [],
    onPushed: (one) => void pushed.push(one),
    clock: systemClock(),
    log: openLog({ level: "silent", name: "test" }),
    ...options,
    upstream: options.upstream ?? plainUpstream(registry.port),
    limits: { ...DEFAULT_LIMITS, lingeringCloseMs: 500, ...options.limits },
    trusted: createTrustedProxies(options.trusted ?? []),
  });
  await new Promise<void>((resolve) => void proxy.server.listen(0, "127.0.0.1", resolve));
  t.teardown(async () => {
    await proxy.close();
    identity.close();
  });
  const { port } = proxy.server.address() as AddressInfo;
  const host = `127.0.0.1:${port}`;
  const base = `http://${host}`;
  const token = async (...scopes: string[]) => {
    const query = new URLSearchParams([["service", SERVICE], ...scopes.map((scope) => ["scope", scope])]);
    const answer = await fetch(`${base}/token?${query.toString()}`, { headers: { authorization: basic(DEV_KEY) } });
    return ((await answer.json()) as { token: string }).token;
  };
  return {
    host,
    base,
    port,
    tokens,
    pushed,
    connections: () => new Promise((resolve, reject) => proxy.server.getConnections((error, count) => (error ? reject(error) : resolve(count)))),
    token,
    call: async (path, { scopes, ...init } = {}) => {
      const headers = new Headers(init.headers);
      if (scopes) headers.set("authorization", `Bearer ${await token(...scopes)}`);
      return fetch(new URL(path, base), { redirect: "manual", ...init, headers });
    },
  };
}

export function basic(key: string): string {
  return `Basic ${Buffer.from(`any:${key}`).toString("base64")}`;
}

/** A registry that asks for nothing. */
export function plainUpstream(port: number, more: Partial<Upstream> = {}): Upstream {
  const target: ForwardTarget = { host: "127.0.0.1", port };
  return {
    target,
    host: `127.0.0.1:${port}`,
    basePath: "",
    nameOf: (repository) => repository,
    authorization: () => undefined,
    refused: async () => undefined,
    close: async () => undefined,
    ...more,
  };
}

export type Recorder = { port: number; requests: { method: string; url: string; headers: IncomingHttpHeaders }[] };

/** A registry of the test's own making, which records its requests. */
export async function openRecorder(t: Test, listener: RequestListener = (_, response) => void response.end("{}")): Promise<Recorder> {
  const requests: Recorder["requests"] = [];
  const server = createServer((request, response) => {
    requests.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers });
    listener(request, response);
  });
  const { port } = await listen(t, server);
  return { port: port, requests };
}
