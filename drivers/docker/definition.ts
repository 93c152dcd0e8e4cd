import type { ContainerCreateOptions } from "dockerode";
import type { Spec } from "../driver.ts";
import { REACH_RULES, type Reach } from "../engine/reach.ts";
import { writeLabels } from "../labels.ts";
import { ownHealthPort } from "../ready.ts";
import { CHECK_WHILE_STARTING } from "./health.ts";

const MB = 1024 * 1024;

/**
 * The options of all containers. Ports are published on `hostIp`, or if that is empty on every address of the engine's machine. `pidsLimit` limits
 * processes and threads. `storageLimit` is false after the engine has failed to limit a container's disk.
 */
export type DockerSite = { reach: Reach; hostIp: string; pidsLimit: number; storageLimit: boolean };

/** The network of one container, and its address and published port. If undefined, the engine assigns them. */
export type Endpoint = { network: string; alias: string | undefined; address: string | undefined; hostPort: number | undefined };

/** The body of the engine's create call. Control is the supervisor, so the engine restarts nothing by itself. */
export function definition(spec: Spec, site: DockerSite, { network, alias, address, hostPort }: Endpoint): ContainerCreateOptions {
  const port = spec.port === undefined ? undefined : `${spec.port}/tcp`;
  const publishes = port !== undefined && REACH_RULES[site.reach].publishes;
  const healthPort = publishes ? ownHealthPort(spec) : undefined;
  return {
    Image: spec.image,
    Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`),
    Labels: writeLabels(spec.labels, spec.port),
    ...(port === undefined ? {} : { ExposedPorts: { [port]: {} } }),
    ...(spec.readiness.kind === "healthcheck" ? { Healthcheck: CHECK_WHILE_STARTING } : {}),
    ...(address === undefined && alias === undefined ? {} : { NetworkingConfig: { EndpointsConfig: { [network]: endpointConfig(alias, address) } } }),
    HostConfig: {
      NetworkMode: network,
      NanoCpus: Math.round(spec.cpu * 1e9),
      Memory: spec.memoryMb * MB,
      // Equal to `Memory`: no swap on top, so that the limit means the same on every machine.
      MemorySwap: spec.memoryMb * MB,
      ShmSize: spec.shmMb * MB,
      // A fork bomb would use up the machine's process ids, which all containers share.
      PidsLimit: site.pidsLimit,
      // Disables setuid programs.
      SecurityOpt: ["no-new-privileges"],
      // With raw sockets a container answers ARP for its neighbours, and reads what gateways send them, tokens included.
      CapDrop: ["NET_RAW"],
      // The engine's machine, for APIs that listen there: on Linux the engine has no such name by default.
      ExtraHosts: ["host.docker.internal:host-gateway"],
      RestartPolicy: { Name: "no" },
      ...(spec.gpu > 0 ? { DeviceRequests: [{ Driver: "", Count: spec.gpu, DeviceIDs: [], Capabilities: [["gpu"]], Options: {} }] } : {}),
      ...(publishes
        ? {
            PortBindings: {
              [port]: [{ HostIp: site.hostIp, HostPort: hostPort === undefined ? "" : String(hostPort) }],
              ...(healthPort === undefined ? {} : { [`${healthPort}/tcp`]: [{ HostIp: site.hostIp, HostPort: "" }] }),
            },
          }
        : {}),
      ...(site.storageLimit && spec.storageGb > 0 ? { StorageOpt: { size: `${spec.storageGb}G` } } : {}),
    },
  };
}

function endpointConfig(alias: string | undefined, address: string | undefined) {
  return {
    ...(alias === undefined ? {} : { Aliases: [alias] }),
    ...(address === undefined ? {} : { IPAMConfig: { IPv4Address: address } }),
  };
}
