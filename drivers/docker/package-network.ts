import { hash } from "node:crypto";

/** On a package's network: whose it is. */
export const PACKAGE_LABEL = "berth.package";
/** A /28: gateways, shared services and some containers. */
export const PACKAGE_BITS = 4;

/**
 * A package's network. It begins with `z-`, since a container on several networks has its default route by the first of them in the alphabet: one
 * that joins this network keeps the route, and with it the connections, that it has. Packages of two stores have two networks.
 */
export function packageNetworkName(network: string, owner: { store: string; package: string }): string {
  const readable = owner.package
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 30);
  return `${packagePrefix(network)}${readable}-${hash("sha256", JSON.stringify([owner.store, owner.package])).slice(0, 8)}`;
}

export function packagePrefix(network: string): string {
  return `z-${network}-`;
}

/** The entry of the network that a container of berth's is on: the one that the settings name, or its package's. */
export function ownEndpoint<T>(network: string, networks: Record<string, T> | null | undefined): T | undefined {
  const own = networks?.[network];
  if (own !== undefined) return own;
  return Object.entries(networks ?? {}).find(([name]) => name.startsWith(packagePrefix(network)))?.[1];
}
