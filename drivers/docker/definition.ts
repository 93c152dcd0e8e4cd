import type { ContainerCreateOptions } from "dockerode";
import type { Spec } from "../driver.ts";
import { REACH_RULES, type Reach } from "../engine/reach.ts";
import { writeLabels } from "../labels.ts";

const MB = 1024 * 1024;

/**
 * Where the container goes. Ports are published on `hostIp`, or where that is empty on every address of the engine's machine. `pidsLimit` bounds
 * its processes and threads. `storageLimit` is false on an engine that was found unable to limit a container's disk.
 */
export type DockerSite = { reach: Reach; hostIp: string; pidsLimit: number; storageLimit: boolean };

/** What this container has: its network, and the address and the published port that berth gives to it, or the engine where left out. */
export type Endpoint = { network: string; address: string | undefined; hostPort: number | undefined };

/** The body of the engine's create call. Control is the supervisor, so the engine restarts nothing by itself. */
export function definition(spec: Spec, site: DockerSite, { network, address, hostPort }: Endpoint): ContainerCreateOptions {
  const port = spec.port === undefined ? undefined : `${spec.port}/tcp`;
  const publishes = port !== undefined && REACH_RULES[site.reach].publishes;
  return {
    Image: spec.image,
    Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`),
    Labels: writeLabels(spec.labels, spec.port),
    ...(port === undefined ? {} : { ExposedPorts: { [port]: {} } }),
    ...(address === undefined ? {} : { NetworkingConfig: { EndpointsConfig: { [network]: { IPAMConfig: { IPv4Address: address } } } } }),
    HostConfig: {
      NetworkMode: network,
      NanoCpus: Math.round(spec.cpu * 1e9),
      Memory: spec.memoryMb * MB,
      // Equal to `Memory`: no swap on top, so that the limit means the same on every machine.
      MemorySwap: spec.memoryMb * MB,
      ShmSize: spec.shmMb * MB,
      // A fork bomb would use up the machine's process ids, which all containers share.
      PidsLimit: site.pidsLimit,
      // Without setuid programs of the image becoming more than they were started as.
      SecurityOpt: ["no-new-privileges"],
      // With raw sockets a container answers ARP for its neighbours, and reads what gateways send them, tokens included.
      CapDrop: ["NET_RAW"],
      // The engine's machine, for APIs that listen there: on Linux the engine makes no such name by itself.
      ExtraHosts: ["host.docker.internal:host-gateway"],
      RestartPolicy: { Name: "no" },
      ...(spec.gpu > 0 ? { DeviceRequests: [{ Driver: "", Count: spec.gpu, DeviceIDs: [], Capabilities: [["gpu"]], Options: {} }] } : {}),
      ...(publishes ? { PortBindings: { [port]: [{ HostIp: site.hostIp, HostPort: hostPort === undefined ? "" : String(hostPort) }] } } : {}),
      ...(site.storageLimit && spec.storageGb > 0 ? { StorageOpt: { size: `${spec.storageGb}G` } } : {}),
    },
  };
}
