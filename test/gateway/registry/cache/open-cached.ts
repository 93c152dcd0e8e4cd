import { readFileSync } from "node:fs";
import type { Test } from "tap";
import { openCache, type CacheOptions } from "../../../../gateway/registry/cache/open-cache.ts";
import { parseRegistryAddress } from "../../../../gateway/registry/upstream/registry-address.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { openLog } from "../../../../lib/log.ts";
import { openMetrics } from "../../../../lib/metrics/open-metrics.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";
import { openDistribution } from "../distribution.ts";
import { MANIFEST } from "../registry-client.ts";
import { openStand, type StandOptions } from "../stand.ts";
import type { Hub } from "./hub.ts";

export const ACCEPT = { accept: MANIFEST };
export const PULL = { scopes: ["repository:docker.io/library/app:pull"] };

/** The proxy in front of a registry, and a cache of the hub beside it. */
export async function openCached(
  t: Test,
  hub: Hub,
  options: Partial<CacheOptions> & { login?: { username: string; password: string } } = {},
  ofStand: StandOptions = {},
) {
  const metrics = openMetrics();
  const { login, ...more } = options;
  const cache = await openCache({
    folder: tempFolder(t),
    maxBytes: 1e9,
    unusedMs: 1e9,
    upstreams: [{ name: "docker.io", address: parseRegistryAddress(`http://${hub.host}`), login }],
    mirrorHost: undefined,
    anonymousPull: false,
    freshMs: 0,
    redirectHosts: [],
    metrics,
    clock: systemClock(),
    log: openLog({ level: "silent", name: "test" }),
    ...more,
  });
  const stand = await openStand(t, await openDistribution(t), { cache, ...ofStand });
  t.teardown(() => cache.close());
  const manifest = (reference: string, init: Parameters<typeof stand.call>[1] = {}) =>
    stand.call(`/v2/docker.io/library/app/manifests/${reference}`, { ...PULL, headers: ACCEPT, ...init });
  const blob = (digest: string, init: Parameters<typeof stand.call>[1] = {}) =>
    stand.call(`/v2/docker.io/library/app/blobs/${digest}`, { ...PULL, ...init });
  const metric = async (name: string) =>
    (await metrics.snapshot())
      .filter((one) => one.name === name)
      .flatMap(({ values }) => values.map(({ labels, value }): Record<string, unknown> & { value: number } => ({ ...labels, value })));
  const socket = "socketPath" in cache.upstream.target ? cache.upstream.target.socketPath : "";
  /** Requests of the proxy at the cache, beside the socket that listens. */
  const cacheConnections = () => readFileSync("/proc/net/unix", "utf8").split(socket).length - 2;
  return { ...stand, cache, manifest, blob, metric, cacheConnections };
}
