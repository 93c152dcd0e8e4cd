import type { ContainerInspectInfo } from "dockerode";
import type { Call, Foreign, ForeignService } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { logStream } from "../engine/log-stream.ts";
import { REACH_RULES } from "../engine/reach.ts";
import { parseLabels } from "../labels.ts";
import { awaitReady } from "../ready.ts";
import { halt, remove } from "./destroy.ts";
import { findContainer } from "./inspect.ts";
import type { DockerView } from "./observe.ts";

/** What the engine takes for a container's name; a service of berth's own has a stricter one. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/;
const INSTANCE = /^[0-9a-f]{64}$/;

/** Containers of this engine that berth did not make. */
export function foreignContainers(engine: Engine, view: DockerView): Foreign {
  return {
    find: async (service, port, { signal }) => {
      signal.throwIfAborted();
      if (!NAME.test(service)) return undefined;
      const found = await findContainer(engine, service, signal);
      // The engine also finds a container by (the beginning of) its id.
      return found && found.Name === `/${service}` ? seen(view, service, found, port) : undefined;
    },
    reached: (address, { signal }) => awaitReady(address, REACH_RULES[view.reach].proof, { clock: engine.clock, signal }),
    end: async (instance, { signal }: Call) => {
      // Nothing shorter: it would be taken for a name, or for the beginning of another's id.
      if (!INSTANCE.test(instance)) return;
      await halt(engine, instance, instance, signal);
      await remove(engine, instance, signal);
    },
    logs: (instance, options, { signal }) => logStream(engine, { of: "containers", id: instance }, options, signal),
  };
}

function seen(view: DockerView, service: string, found: ContainerInspectInfo, wished: number | undefined): ForeignService {
  const { Running: running, ExitCode: code, OOMKilled: outOfMemory, Status: status } = found.State;
  const port = wished ?? onlyPort(found);
  const address = running && port !== undefined ? REACH_RULES[view.reach].address(waysTo(view, service, found, port), view.engineHost) : undefined;
  return {
    instance: found.Id,
    labels: parseLabels(found.Config.Labels),
    running,
    ...(address ? { address } : {}),
    ...(running || status === "created" ? {} : { exit: { code, outOfMemory } }),
  };
}

/** On the engine's own machine every bridge network is reached; by its name a container is only on the one that berth is in. */
function waysTo({ network, reach }: DockerView, service: string, { NetworkSettings: { Networks, Ports } }: ContainerInspectInfo, port: number) {
  const others = reach === "address" ? Object.values(Networks ?? {}).map(({ IPAddress }) => IPAddress) : [];
  const ip = [Networks?.[network]?.IPAddress, ...others].find((one) => one !== undefined && one !== "");
  return { service, port, ip, hostPort: Number(Ports?.[`${port}/tcp`]?.[0]?.HostPort) };
}

function onlyPort({ Config }: ContainerInspectInfo): number | undefined {
  const exposed = Object.keys(Config.ExposedPorts ?? {}).filter((one) => one.endsWith("/tcp"));
  return exposed.length === 1 ? Number.parseInt(exposed[0] as string, 10) : undefined;
}
