import { Agent } from "node:http";
import { Agent as SecureAgent } from "node:https";
import type { Target } from "../../directory.ts";
import { openSecured } from "../dial.ts";

/** Node's pools of connections, with and without their keeping, for one kind of target. */
export type Agents = { pooled: Agent; fresh: Agent };

/** Those of plain targets, and of each server that speaks TLS. */
export function openAgents({ idleMs }: { idleMs: number }): { of(target: Target): Agents; close(): void } {
  const kept = { keepAlive: true, scheduling: "lifo", timeout: idleMs, maxFreeSockets: 64 } as const;
  const plain: Agents = { pooled: new Agent(kept), fresh: new Agent({ keepAlive: false }) };
  const secured = new Map<string, Agents>();

  return {
    of: (target) => {
      if ("socketPath" in target || target.tls === undefined) return plain;
      const { tls } = target;
      const key = [tls.servername, tls.fingerprint, tls.ca].join(" ");
      const known = secured.get(key);
      if (known !== undefined) return known;
      const made = { pooled: new SecureAgent(kept), fresh: new SecureAgent({ keepAlive: false }) };
      // Node would else take the name from the Host of a request, which is the client's.
      for (const agent of [made.pooled, made.fresh])
        agent.createConnection = ({ host, port }) => openSecured({ host: String(host), port: Number(port) }, tls);
      secured.set(key, made);
      return made;
    },
    close: () => {
      for (const { pooled, fresh } of [plain, ...secured.values()]) {
        pooled.destroy();
        fresh.destroy();
      }
    },
  };
}
