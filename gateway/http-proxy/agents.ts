import { Agent } from "node:http";
import { Agent as SecureAgent } from "node:https";
import { type Lease, keyOfTarget, type ForwardTarget } from "../decision.ts";
import { openSecured } from "../connections/dial.ts";

/** Node's agents, with and without idle connections. */
type Agents = { pooled: Agent; fresh: Agent };

/** One pair for each owner at a plain target, closed when the owner leaves the target; and one for each TLS server. */
export function openAgents({ idleMs }: { idleMs: number }): {
  of(target: ForwardTarget, lease: Pick<Lease, "owner" | "onTargetGone">): Agents;
  close(): void;
} {
  const kept = { keepAlive: true, scheduling: "lifo", timeout: idleMs, maxFreeSockets: 64 } as const;
  const fresh = new Agent({ keepAlive: false });
  const plain = new Map<string, { pooled: Agent; unwatch(): void }>();
  const secured = new Map<string, Agents>();

  const pooledOf = (target: ForwardTarget, lease: Pick<Lease, "owner" | "onTargetGone">): Agent => {
    const key = `${lease.owner} ${keyOfTarget(target)}`;
    const existing = plain.get(key);
    if (existing !== undefined) return existing.pooled;
    const made = { pooled: new Agent(kept), unwatch: () => undefined as void };
    plain.set(key, made);
    // The container is watched while there is a connection to it.
    const connect = made.pooled.createConnection.bind(made.pooled);
    made.pooled.createConnection = (options, done) => {
      const socket = connect(options, done);
      socket?.once("close", () => setImmediate(forgetUnused));
      return socket;
    };
    const forgetUnused = () => {
      if (plain.get(key) !== made || [made.pooled.sockets, made.pooled.freeSockets, made.pooled.requests].some((of) => Object.keys(of).length > 0))
        return;
      plain.delete(key);
      made.unwatch();
    };
    made.unwatch = lease.onTargetGone(target, () => {
      if (plain.get(key) === made) plain.delete(key);
      made.unwatch();
      // Connections in use are closed after their exchange.
      made.pooled.maxFreeSockets = 0;
      for (const idle of Object.values(made.pooled.freeSockets)) for (const socket of idle ?? []) socket.destroy();
    });
    return made.pooled;
  };

  return {
    of: (target, lease) => {
      if ("socketPath" in target || target.tls === undefined) return { pooled: pooledOf(target, lease), fresh };
      const { tls } = target;
      const key = [tls.servername, tls.fingerprint, tls.ca].join(" ");
      const existing = secured.get(key);
      if (existing !== undefined) return existing;
      const made = { pooled: new SecureAgent(kept), fresh: new SecureAgent({ keepAlive: false }) };
      // By default Node takes the server name from the request's Host, which is the client's.
      for (const agent of [made.pooled, made.fresh])
        agent.createConnection = ({ host, port }) => openSecured({ host: String(host), port: Number(port) }, tls);
      secured.set(key, made);
      return made;
    },
    close: () => {
      for (const { pooled, unwatch } of plain.values()) {
        unwatch();
        pooled.destroy();
      }
      fresh.destroy();
      for (const of of secured.values()) {
        of.pooled.destroy();
        of.fresh.destroy();
      }
    },
  };
}
