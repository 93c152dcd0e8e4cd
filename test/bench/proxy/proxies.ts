import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { caddy } from "./caddy.ts";
import { haproxy } from "./haproxy.ts";
import { luaMissing, nginxLua, nginxMaps } from "./nginx.ts";
import type { BenchOptions } from "./options.ts";
import { PEERS, peersMissing } from "./install-peers.ts";
import type { PinnedCommand } from "./pinned.ts";
import type { BenchWorld } from "./world.ts";

export type Proxy = {
  name: string;
  /** How it is started so that it listens on `port` of 127.0.0.1. */
  command(world: BenchWorld, port: number): PinnedCommand;
  /** Why it cannot be measured here, e.g. that it is not installed. */
  missing?(): string | undefined;
  /** It has another listener for long bodies, on the next port. */
  streamsApart?: true;
  /** It routes, but knows no keys: its figures are without that work. */
  noKeys?: true;
  /** The only workloads that it does. */
  only?: readonly string[];
};

/** What `berth-process.ts` takes: how the gateway is opened, and how many processes share its socket. */
type BerthRow = { settings?: Record<string, unknown>; needs?: RegExp; workers?: number; root?: string; only?: readonly string[] };

/** What a proxy with an access log is measured with. */
const LOGGED = ["get", "get10k"];
/** What a proxy is measured with that keeps connections for each container, as berth does. */
const POOLED = ["get", "get10k"];

/** The two kinds of sockets. A checkout without the setting has only the first. */
const SOCKETS = [
  { name: "berth", settings: { sockets: "node" } },
  { name: "berth, ffi", settings: { sockets: "ffi" }, needs: /"BERTH_SOCKETS"/ },
] as const;

type RowOptions = Pick<BenchOptions, "berth" | "beside" | "profile">;

/**
 * A row each, in the order in which they are measured and shown: first those that berth is compared with, which then have their turns together. berth's
 * are of the checkout that the options name.
 */
export function proxies(options: RowOptions): readonly Proxy[] {
  const { beside } = options;
  return [
    ...SOCKETS.map((sockets) => berth(options, sockets.name, sockets)),
    ...(beside === undefined ? [] : [berth(options, "berth, beside", { root: beside })]),
    ...nginxes(),
    peer("http-proxy"),
    peer("configurable-http-proxy", { noKeys: true }),
    { name: "nginx, pools", command: nginxMaps({ pools: true }), missing: program("nginx"), only: POOLED },
    { name: "nginx-lua, pools", command: nginxLua({ pools: true }), missing: luaMissing, only: POOLED },
    ...SOCKETS.map((sockets) => {
      return berth(options, `${sockets.name}, log`, { ...sockets, settings: { ...sockets.settings, accessLog: "/dev/null" }, only: LOGGED });
    }),
    { name: "nginx, log", command: nginxMaps({ log: true }), missing: program("nginx"), only: LOGGED },
    { name: "nginx-lua, log", command: nginxLua({ log: true }), missing: luaMissing, only: LOGGED },
    { name: "haproxy, log", command: haproxy({ log: true }), missing: program("haproxy"), only: LOGGED },
    { name: "caddy, log", command: caddy({ log: true }), missing: program("caddy"), only: LOGGED },
    { name: "haproxy", command: haproxy({ log: false }), missing: program("haproxy") },
    { name: "caddy", command: caddy({ log: false }), missing: program("caddy") },
    peer("httpxy"),
    peer("fastify-http-proxy"),
    peer("http-proxy-3"),
    berth(options, "berth, http-proxy", { settings: { forwarder: "http-proxy" } }),
    peer("ws-ended", { only: ["ws125", "ws16k"] }),
    ...[
      berth(options, "berth, h2", { settings: { tls: true, http2: true, sockets: "ffi" }, needs: /"BERTH_HTTP2"/, only: ["get-h2"] }),
      { name: "nginx, h2", command: nginxMaps({ http2: true }), only: ["get-h2"] },
    ].map((proxy): Proxy => ({ ...proxy, missing: () => program("h2load")() ?? proxy.missing?.() })),
  ];
}

/** Those whose cost is measured as the world grows. */
export function growingProxies(options: RowOptions): readonly Proxy[] {
  return [...SOCKETS.map((sockets) => berth(options, sockets.name, sockets)), ...nginxes()];
}

/** One worker and two, on all cores. */
export function workersOf(options: RowOptions): readonly Proxy[] {
  return [1, 2].flatMap((workers): Proxy[] => {
    const name = (proxy: string) => `${proxy}, ${workers} ${workers === 1 ? "worker" : "workers"}`;
    return [
      ...SOCKETS.map((sockets) => berth(options, name(sockets.name), { ...sockets, workers })),
      { name: name("nginx"), command: nginxMaps({ workers }), missing: program("nginx") },
    ];
  });
}

/** The rows that targets are compared with. */
export function isBerth(name: string): boolean {
  return name.startsWith("berth") && !/, (?:log|h2)$/.test(name);
}

function berth({ berth: own, profile }: RowOptions, name: string, row: BerthRow): Proxy {
  const { settings = {}, needs, workers = 1, root = own, only } = row;
  return {
    name,
    command: (world, port) => ({
      argv: [
        process.execPath,
        // What is experimental announces itself on every start.
        "--no-warnings",
        // As `./berth` starts it.
        "--v8-pool-size=1",
        ...(profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`]),
        join(root, "test/bench/proxy", workers === 1 ? "berth-process.ts" : "berth-workers.ts"),
        world.folder,
        String(port),
        JSON.stringify(settings),
        String(workers),
      ],
    }),
    // A setting that another checkout's gateway does not have would be passed over in silence.
    missing: () =>
      needs === undefined || needs.test(readFileSync(join(root, "conf/settings.ts"), "utf8")) ? undefined : "the checkout has no such setting",
    ...(only && { only }),
  };
}

function nginxes(): Proxy[] {
  return [
    { name: "nginx", command: nginxMaps(), missing: program("nginx"), streamsApart: true },
    { name: "nginx-lua", command: nginxLua(), missing: luaMissing, streamsApart: true },
  ];
}

/** A library, with a server around it in `peers/`. */
function peer(name: string, more: Partial<Proxy> = {}): Proxy {
  return {
    name,
    command: (world, port) => ({ argv: [process.execPath, "--no-warnings", join(PEERS, `${name}.mjs`), world.folder, String(port)] }),
    missing: peersMissing,
    ...more,
  };
}

/** Without these there is no load, no container, or no core to pin to. */
export function missingTools(): string[] {
  return ["wrk", "nginx", "taskset", "setpriv"].flatMap((name) => program(name)() ?? []);
}

export function program(name: string): () => string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"];
  return () => (folders.some((folder) => existsSync(join(folder, name))) ? undefined : `the program ${name} is not installed`);
}
