import { isIP } from "node:net";

/** Whether nobody outside this machine reaches a listener on this host, a name or an IP address without brackets. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}
