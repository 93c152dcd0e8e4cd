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
  /** The only workloads that it can do. */
  only?: readonly string[];
};

/** A row each, in the order in which they are measured and shown; berth's are of the checkout that the options name. */
export function proxies({
  berth: own,
  beside,
  observed,
  profile,
}: Pick<BenchOptions, "berth" | "beside" | "observed" | "profile">): readonly Proxy[] {
  const berth = (
    name: string,
    settings: Record<string, string>,
    missing: () => string | undefined = () => undefined,
    workers = 1,
    root = own,
  ): Proxy => ({
    name,
    command: (world, port) => ({
      argv: [
        process.execPath,
        ...(profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`]),
        join(root, "test/bench/proxy", workers === 1 ? "berth-process.ts" : "berth-workers.ts"),
        world.folder,
        String(port),
        JSON.stringify(observed ? { ...settings, accessLog: "/dev/null" } : settings),
        String(workers),
      ],
    }),
    missing,
  });
  /** A setting that another checkout's gateway does not have would be passed over in silence. */
  const unlessTaken = (setting: RegExp) => () =>
    setting.test(readFileSync(join(own, "gateway/open-gateway.ts"), "utf8")) ? undefined : "the checkout's gateway has no such engine";

  return [
    berth("berth", { forwarder: "splice" }, unlessTaken(/openSpliceEngine/)),
    berth("berth, 2 workers", { forwarder: "splice" }, unlessTaken(/openSpliceEngine/), 2),
    ...(beside === undefined ? [] : [berth("berth, beside", { forwarder: "splice" }, undefined, 1, beside)]),
    berth("berth, buffers", { forwarder: "splice", reads: "buffers" }, unlessTaken(/\breads\b/)),
    berth("berth, http-proxy", { forwarder: "http-proxy" }),
    { name: "nginx", command: nginxMaps(observed), missing: program("nginx"), streamsApart: true },
    { name: "nginx-lua", command: nginxLua(observed), missing: luaMissing, streamsApart: true },
    { name: "haproxy", command: haproxy(observed), missing: program("haproxy") },
    { name: "caddy", command: caddy(observed), missing: program("caddy") },
    // Libraries: they write no access log.
    ...(observed ? [] : LIBRARIES),
  ];
}

const LIBRARIES: readonly Proxy[] = [
  peer("httpxy"),
  peer("fastify-http-proxy"),
  peer("http-proxy"),
  peer("http-proxy-3"),
  peer("configurable-http-proxy", { noKeys: true }),
  peer("ws-ended", { only: ["ws125", "ws16k"] }),
];

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

function program(name: string): () => string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"];
  return () => (folders.some((folder) => existsSync(join(folder, name))) ? undefined : `the program ${name} is not installed`);
}
