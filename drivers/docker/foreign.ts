import type { ContainerInspectInfo } from "dockerode";
import type { Call, Foreign, ForeignService } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { REACH_RULES } from "../engine/reach.ts";
import { logStream } from "../engine/streams.ts";
import { parseLabels } from "../labels.ts";
import { awaitPort } from "../ready.ts";
import { remove, stop } from "./create-destroy.ts";
import { type DockerView, findContainer } from "./observe.ts";

/** A name that the engine accepts; those of berth's services are stricter. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/;
const INSTANCE = /^[0-9a-f]{64}$/;

/** A container with exactly this name, created by berth or not: the engine also finds one by the beginning of its id. */
export async function findByName(engine: Engine, name: string, signal: AbortSignal): Promise<ContainerInspectInfo | undefined> {
  signal.throwIfAborted();
  const container = NAME.test(name) ? await findContainer(engine, name, signal) : undefined;
  return container?.Name === `/${name}` ? container : undefined;
}

/** Containers of this engine that berth did not create. */
export function foreignContainers(engine: Engine, view: DockerView): Foreign {
  return {
    find: async (service, port, { signal }) => {
      const container = await findByName(engine, service, signal);
      return container && observeForeign(view, service, container, port);
    },
    reached: (address, { signal }) => awaitPort(address, REACH_RULES[view.reach].proof, { clock: engine.clock, signal }),
    end: async (instance, { signal }: Call) => {
      // A shorter one could be a name, or the beginning of another id.
      if (!INSTANCE.test(instance)) return;
      await stop(engine, instance, instance, signal);
      await remove(engine, instance, signal);
    },
    logs: async function* (instance, options, { signal }) {
      // berth gives no container a terminal, and other programs may.
      const container = await findContainer(engine, instance, signal);
      if (container) yield* logStream(engine, { of: "containers", id: instance, terminal: container.Config.Tty }, options, signal);
    },
  };
}

function observeForeign(view: DockerView, service: string, container: ContainerInspectInfo, requested: number | undefined): ForeignService {
  const { Running: running, ExitCode: code, OOMKilled: outOfMemory, Status: status } = container.State;
  const port = requested ?? onlyPort(container);
  const address =
    running && port !== undefined ? REACH_RULES[view.reach].address(routesTo(view, service, container, port), view.engineHost) : undefined;
  return {
    instance: container.Id,
    labels: parseLabels(container.Config.Labels),
    running,
    addresses: address ? [address] : [],
    ...(running || status === "created" ? {} : { exit: { code, outOfMemory } }),
  };
}

/** berth reaches every bridge network of its own machine, but a name only on the network that berth is on. */
function routesTo({ network, reach }: DockerView, service: string, { NetworkSettings: { Networks, Ports } }: ContainerInspectInfo, port: number) {
  const others = reach === "address" ? Object.values(Networks ?? {}).map(({ IPAddress }) => IPAddress) : [];
  const ip = [Networks?.[network]?.IPAddress, ...others].find((one) => one !== undefined && one !== "");
  return { service, port, ip, hostPort: Number(Ports?.[`${port}/tcp`]?.[0]?.HostPort) };
}

function onlyPort({ Config }: ContainerInspectInfo): number | undefined {
  const exposed = Object.keys(Config.ExposedPorts ?? {}).filter((one) => one.endsWith("/tcp"));
  return exposed.length === 1 ? Number.parseInt(exposed[0] as string, 10) : undefined;
}
