import type { Address } from "../driver.ts";
import type { Proof } from "../ready.ts";

export const REACHES = ["auto", "address", "name", "published"] as const;
export type Reach = Exclude<(typeof REACHES)[number], "auto">;

/** What both the engine's list and its inspect tell about the ways to a container. */
export type ContainerRoutes = { service: string; port: number; ip: string | undefined; hostPort: number | undefined };

/** The three ways from a gateway to a container. */
export const REACH_RULES: Record<
  Reach,
  { proof: Proof; publishes: boolean; address(ways: ContainerRoutes, engineHost: string): Address | undefined }
> = {
  /** By its IP on the bridge network: berth runs on the engine's own Linux machine. */
  address: { proof: "accepted", publishes: false, address: ({ ip, port }) => (ip ? { host: ip, port } : undefined) },
  /** By the engine's DNS: berth runs in a container on the same network. */
  name: { proof: "accepted", publishes: false, address: ({ service, ip, port }) => (ip ? { host: service, port } : undefined) },
  /** By a port of the engine's machine: the only way into a virtual machine or to another host. */
  published: { proof: "held", publishes: true, address: ({ hostPort }, host) => (hostPort ? { host, port: hostPort } : undefined) },
};

export function chooseReach(wished: (typeof REACHES)[number], here: { inContainer: boolean; remote: boolean; platform: NodeJS.Platform }): Reach {
  if (wished !== "auto") return wished;
  if (here.inContainer) return "name";
  return here.remote || here.platform !== "linux" ? "published" : "address";
}

/** Where an engine's machine is from here: `remote` is its host where it is spoken to over TCP, which may be this machine all the same. */
export function engineMachine(remote: string | undefined): { host: string; elsewhere: boolean } {
  const here = remote === undefined || /^(localhost|127\..*|::1)$/.test(remote);
  return { host: here ? "127.0.0.1" : remote, elsewhere: !here };
}

/** More than any plugin was seen to need, and few enough that one container leaves others room. */
export const DEFAULT_PIDS_LIMIT = 4_096;
