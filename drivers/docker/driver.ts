import { existsSync } from "node:fs";
import { isIP } from "node:net";
import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { Log } from "../../log.ts";
import type { Driver, Registry } from "../driver.ts";
import { engineCapacity } from "../engine/capacity.ts";
import { openEngine } from "../engine/engine.ts";
import { joinNetwork } from "../engine/join-network.ts";
import { DEFAULT_PIDS_LIMIT } from "../engine/pids-limit.ts";
import { chooseReach, engineMachine, type REACHES } from "../engine/reach.ts";
import { refuseBadName } from "../service-name.ts";
import type { Site } from "./definition.ts";
import { deploy } from "./deploy.ts";
import { destroy } from "./destroy.ts";
import { events } from "./events.ts";
import { foreignContainers } from "./foreign.ts";
import { inspect } from "./inspect.ts";
import { list } from "./list.ts";
import { logs } from "./logs.ts";
import { pause } from "./pause.ts";
import { ensureNetwork } from "./network.ts";
import type { View } from "./observe.ts";
import { resolve } from "./resolve.ts";

export type DockerOptions = {
  /** In the syntax of `DOCKER_HOST`: unix:///path or tcp://host:port; the engine's usual socket where left out. */
  host?: string | undefined;
  /** Speak TLS; `folder` holds ca.pem, cert.pem and key.pem (`DOCKER_CERT_PATH`). */
  tls?: { folder: string } | undefined;
  /** The bridge network that all containers share; made when it is missing. */
  network: string;
  reach: (typeof REACHES)[number];
  /** Most processes and threads of one container; `DEFAULT_PIDS_LIMIT` where left out. */
  pidsLimit?: number;
  /** At which gateways on other machines reach the engine's: ports are then published there. */
  publishHost?: string | undefined;
  /** Where names without a registry are looked for before the engine's own images, and what the engine signs in there with. */
  registry?: Registry | undefined;
};

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
  const view: View = { network, reach, engineHost: publishHost ?? machine.host };
  const site: Site = {
    network,
    reach,
    hostIp: hostIp(publishHost, !machine.elsewhere),
    pidsLimit: options.pidsLimit ?? DEFAULT_PIDS_LIMIT,
    storageLimit: true,
  };
  let joined = reach !== "name";

  /** Once per driver, when the first container is about to be reached. */
  const join = async (signal: AbortSignal) => {
    if (joined) return;
    await ensureNetwork(engine, network, signal);
    await joinNetwork(engine, network, log, signal);
    joined = true;
  };

  return {
    name: "docker",
    pulls: true,
    resolve: (image, call) => resolve(engine, image, call, { log, registry: options.registry }),
    deploy: async (spec, call) => {
      call.signal.throwIfAborted();
      refuseBadName(spec.service);
      await join(call.signal);
      return deploy(engine, view, site, spec, call, log);
    },
    pause: (service, call) => pause(engine, view, service, call),
    destroy: (service, call) => destroy(engine, view, service, call),
    inspect: (service, call) => inspect(engine, view, service, call),
    list: async (call) => {
      await join(call.signal);
      return list(engine, view, call);
    },
    logs: (service, which, call) => logs(engine, view, service, which, call),
    capacity: ({ signal }) => engineCapacity(engine, signal),
    foreign: async () => foreignContainers(engine, view),
    events: (call) => events(engine, log, call),
    close: async () => engine.close(),
  };
}

/** A name says nothing of which address is meant. On our own machine nobody else needs the port; on another, only its public side leads to us. */
function hostIp(publishHost: string | undefined, loopback: boolean): string {
  if (publishHost !== undefined) return isIP(publishHost) === 0 ? "" : publishHost;
  return loopback ? "127.0.0.1" : "";
}
