import type { ContainerInfo, ContainerInspectInfo } from "dockerode";
import type { Observed } from "../driver.ts";
import { REACH_RULES, type Reach } from "../engine/reach.ts";
import { parseLabels, readPort } from "../labels.ts";
import { ownEndpoint } from "./network.ts";

/** How this driver sees containers: through which network, and by which way. */
export type DockerView = { network: string; reach: Reach; engineHost: string };

/** The contract's words for what `inspect` says; undefined for a container that is not ours. */
export function observeOne(view: DockerView, found: ContainerInspectInfo): Observed | undefined {
  const labels = parseLabels(found.Config.Labels);
  if (!labels) return undefined;
  const service = found.Name.replace(/^\//, "");
  const port = readPort(found.Config.Labels);
  const published = port === undefined ? undefined : found.NetworkSettings.Ports?.[`${port}/tcp`]?.[0]?.HostPort;
  const { Paused: paused, Status: status, ExitCode: code, OOMKilled: outOfMemory } = found.State;
  const running = found.State.Running && !paused;
  return {
    service,
    labels,
    running,
    instance: found.Id,
    ...(paused ? { paused } : {}),
    ...addressed(view, running, {
      service,
      port,
      ip: ownEndpoint(view.network, found.NetworkSettings.Networks)?.IPAddress,
      hostPort: Number(published),
    }),
    ...(running || paused || status === "created" ? {} : { exit: { code, outOfMemory } }),
  };
}

/** The same of a line of the engine's list, which knows no exit codes. */
export function observeListed(view: DockerView, found: ContainerInfo): Observed | undefined {
  const labels = parseLabels(found.Labels);
  const service = found.Names[0]?.replace(/^\//, "");
  if (!labels || service === undefined) return undefined;
  const port = readPort(found.Labels);
  const running = ["running", "restarting"].includes(found.State);
  const hostPort = found.Ports.find(({ PrivatePort, Type }) => PrivatePort === port && Type === "tcp")?.PublicPort;
  return {
    service,
    labels,
    running,
    instance: found.Id,
    ...(found.State === "paused" ? { paused: true } : {}),
    ...addressed(view, running, { service, port, ip: ownEndpoint(view.network, found.NetworkSettings.Networks)?.IPAddress, hostPort }),
  };
}

type FoundContainer = { service: string; port: number | undefined; ip: string | undefined; hostPort: number | undefined };

function addressed({ reach, engineHost }: DockerView, running: boolean, { port, ...ways }: FoundContainer): Pick<Observed, "address"> {
  const address = running && port !== undefined ? REACH_RULES[reach].address({ ...ways, port }, engineHost) : undefined;
  return address ? { address } : {};
}
