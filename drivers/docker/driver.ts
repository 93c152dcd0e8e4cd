import { existsSync } from "node:fs";
import { isIP } from "node:net";
import type { ContainerInfo } from "dockerode";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Driver, Registry } from "../driver.ts";
import { engineCapacity, openEngine } from "../engine/engine.ts";
import { DEFAULT_PIDS_LIMIT, chooseReach, engineMachine, type REACHES } from "../engine/reach.ts";
import { refuseBadName } from "../labels.ts";
import type { DockerSite } from "./definition.ts";
import { deploy } from "./deploy.ts";
import { destroy } from "./destroy.ts";
import { events } from "./events.ts";
import { foreignContainers } from "./foreign.ts";
import { inspect } from "./inspect.ts";
import { list, listLines } from "./list.ts";
import { logs } from "./logs.ts";
import { pause } from "./pause.ts";
import { endpointOf, openNetworks } from "./networks.ts";
import type { DockerView } from "./observe.ts";
import { resolve } from "./resolve.ts";
import { createRotation } from "./rotation.ts";
import { DEFAULT_SUBNETS, readSubnet } from "./subnets.ts";

export type DockerOptions = {
  /** In the syntax of `DOCKER_HOST`: unix:///path or tcp://host:port; the engine's usual socket where left out. */
  host?: string | undefined;
  /** Speak TLS; `folder` holds ca.pem, cert.pem and key.pem (`DOCKER_CERT_PATH`). */
  tls?: { folder: string } | undefined;
  /** How long a call may take; 30 s where left out. */
  callMs?: number;
  /** The bridge network that containers are on, or by name the first part of what their networks are called; made where it is missing. */
  network: string;
  /** Where berth's networks get their subnets from, in CIDR notation; `DEFAULT_SUBNETS` where left out. */
  subnets?: readonly string[];
  /** How long an address, or a published port, is not given to another container. */
  addressRestMs?: number;
  /** Ports of the engine's machine to publish on, the first and the last. */
  publishPorts?: { first: number; last: number };
  /** `container` or `alias=container`: what containers of every package reach, by name. */
  sharedServices?: readonly string[];
  /** How long a package's network is kept while it is empty. */
  emptyNetworkMs?: number;
  reach: (typeof REACHES)[number];
  /** Most processes and threads of one container; `DEFAULT_PIDS_LIMIT` where left out. */
  pidsLimit?: number;
  /** At which gateways on other machines reach the engine's: ports are then published there. */
  publishHost?: string | undefined;
  /** Where names without a registry are looked for before the engine's own images, and what the engine signs in there with. */
  registry?: Registry | undefined;
};

const ADDRESS_REST_MS = 60_000;
/** Linux gives these to programs that listen on port 0. */
const PUBLISH_PORTS = { first: 32_768, last: 60_999 };
/** Long enough for a package that sleeps between two uses not to have it made anew with each wake. */
const EMPTY_NETWORK_MS = 3_600_000;

/** A Docker engine as the orchestrator. Opens no connection until it is asked something. Faults: SETTINGS_INVALID. */
export function dockerDriver(options: DockerOptions & { clock: Clock; log: Log }): Driver {
  const { clock, log, network } = options;
  const engine = openEngine(options, clock);
  const machine = engineMachine(engine.remote);
  const { publishHost } = options;
  const wished = publishHost !== undefined && options.reach === "auto" ? "published" : options.reach;
  const reach = chooseReach(wished, { inContainer: existsSync("/.dockerenv"), remote: engine.remote !== undefined, platform: process.platform });
  if (publishHost !== undefined && reach !== "published")
    throw new Fault("SETTINGS_INVALID", `BERTH_DOCKER_PUBLISH_HOST is for published ports, and BERTH_DOCKER_REACH is ${reach}: change one of them.`);
  const view: DockerView = { network, reach, engineHost: publishHost ?? machine.host };
  const site: DockerSite = {
    reach,
    hostIp: hostIp(publishHost, !machine.elsewhere),
    pidsLimit: options.pidsLimit ?? DEFAULT_PIDS_LIMIT,
    storageLimit: true,
  };
  const {
    addressRestMs: restMs = ADDRESS_REST_MS,
    publishPorts = PUBLISH_PORTS,
    sharedServices = [],
    emptyNetworkMs: emptyMs = EMPTY_NETWORK_MS,
  } = options;
  const pools = (options.subnets ?? DEFAULT_SUBNETS).flatMap((cidr) => readSubnet(cidr) ?? []);
  const networks = openNetworks({ engine, network, reach, pools, restMs, sharedServices, emptyMs, log });
  const ports = { first: publishPorts.first, rotation: createRotation(publishPorts.last - publishPorts.first + 1, restMs, clock) };

  const seen = (lines: readonly ContainerInfo[], since: number) => {
    networks.seen(lines, since);
    const published = lines.flatMap(({ Ports }) => Ports.flatMap(({ PublicPort }) => (PublicPort === undefined ? [] : PublicPort - ports.first)));
    ports.rotation.seen(new Set(published.filter((port) => port >= 0 && port <= publishPorts.last - ports.first)), since);
  };
  const look = async (signal: AbortSignal) => {
    const since = clock.monotonic();
    const lines = await listLines(engine, signal);
    seen(lines, since);
    return lines;
  };
  const start = { engine, view, site, ports, log, place: networks.placeFor, look };

  return {
    name: "docker",
    pulls: true,
    resolve: (image, call) => resolve(engine, image, call, { log, registry: options.registry }),
    deploy: async (spec, call) => {
      call.signal.throwIfAborted();
      refuseBadName(spec.service);
      return deploy(start, spec, call);
    },
    pause: (service, call) => pause(engine, view, service, call),
    destroy: async (service, call) => {
      const gone = await destroy(engine, view, service, call);
      const endpoint = endpointOf(network, gone?.NetworkSettings.Networks);
      networks.released(endpoint?.id, endpoint?.address);
    },
    inspect: (service, call) => inspect(engine, view, service, call),
    list: async (call) => {
      const lines = await look(call.signal);
      await networks.tend(lines, call.signal);
      return list(engine, view, lines, call);
    },
    logs: (service, which, call) => logs(engine, view, service, which, call),
    capacity: ({ signal }) => engineCapacity(engine, signal),
    foreign: async () => foreignContainers(engine, view),
    events: (call) => events(engine, log, call, networks.changed),
    close: async () => engine.close(),
  };
}

/** A name says nothing of which address is meant. On our own machine nobody else needs the port; on another, only its public side leads to us. */
function hostIp(publishHost: string | undefined, loopback: boolean): string {
  if (publishHost !== undefined) return isIP(publishHost) === 0 ? "" : publishHost;
  return loopback ? "127.0.0.1" : "";
}
