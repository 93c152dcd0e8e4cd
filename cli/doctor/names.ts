import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { readRegistryAddress } from "../../gateway/registry/upstream/registry-address.ts";
import { Fault } from "../../lib/fault.ts";
import { reasonOf } from "../../lib/http-client.ts";
import type { Chain } from "./check.ts";
import type { Finding } from "./finding.ts";

/** Whose name is looked up; undefined where it is not set. */
const HOSTS = {
  server: ({ server }: Chain) => server.url.hostname,
  DATAGROK_URL: ({ settings }: Chain) => settings.datagrok.url && new URL(settings.datagrok.url).hostname,
  REGISTRY_URL: ({ settings }: Chain) => settings.registry.url && readRegistryAddress(settings.registry.url).hostname,
} as const;

/** Whether a name leads to an address, as programs on this machine find it: /etc/hosts counts. */
export function checkName(whose: keyof typeof HOSTS): (chain: Chain) => Promise<Finding> {
  return async (chain) => {
    const host = HOSTS[whose](chain)?.replace(/^\[|\]$/g, "");
    if (host === undefined) return { unlooked: `${whose} is not set` };
    if (isIP(host) !== 0) return { says: `${host}, an address` };
    const found = await lookup(host, { all: true }).catch((cause: unknown) => {
      throw new Fault("CHAIN_BROKEN", `The name ${host} leads nowhere: ${reasonOf(cause)}.`, { cause });
    });
    return { says: `${host} is ${found.map(({ address }) => address).join(", ")}` };
  };
}
