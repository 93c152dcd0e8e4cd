import type { Settings } from "../conf/settings.ts";
import { type PrivateListeners, privateListeners } from "../lib/container-peers.ts";
import type { Log } from "../lib/log.ts";

/** As the settings have it. */
export function privateListenersOf({ dockerSubnets, privateFromContainers }: Settings, log: Log): PrivateListeners {
  return privateListeners({ subnets: dockerSubnets, allowed: privateFromContainers, log });
}
