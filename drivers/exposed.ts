import type { ResolvedImage } from "./driver.ts";

/**
 * Exposed TCP ports, the one to use first: the first `EXPOSE` of the history, oldest layer first, else the lowest as a guess. The configuration says which ports there are; it is a set without an order.
 */
export function exposedPorts(configured: string[], createdBy: string[]): Pick<ResolvedImage, "exposed" | "guessed"> {
  const ports = [...new Set(configured.flatMap(tcpPort))].toSorted((a, b) => a - b);
  if (ports.length < 2) return { exposed: ports };
  for (const line of createdBy) {
    const written = /\bEXPOSE\s(.+)/.exec(line)?.[1];
    if (written === undefined) continue;
    const named = [...written.matchAll(/\b(\d{1,5})(?:\/(tcp|udp|sctp))?\b/g)]
      .filter(([, , protocol]) => protocol === undefined || protocol === "tcp")
      .map(([, port]) => Number(port));
    const first = named.find((port) => ports.includes(port));
    if (first === undefined) continue;
    // BuildKit writes a line of several ports down as a map, sorted as text: the order is lost.
    const guessed = written.startsWith("map[") && named.length > 1;
    const chosen = guessed ? Math.min(...named.filter((port) => ports.includes(port))) : first;
    return { exposed: [chosen, ...ports.filter((port) => port !== chosen)], ...(guessed ? { guessed } : {}) };
  }
  return { exposed: ports, guessed: true };
}

function tcpPort(written: string): number[] {
  const found = /^(\d{1,5})(?:\/tcp)?$/.exec(written);
  return found ? [Number(found[1])] : [];
}
