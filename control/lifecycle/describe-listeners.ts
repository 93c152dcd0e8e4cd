import type { Address, Listeners, Spec } from "../../drivers/driver.ts";

/** A port on which a container must listen, and what says so. */
export type ExpectedPort = { port: number; source: string };

/** What is known of where a container's processes listen; "unknown": its orchestrator does not say. */
export type ListenerFinding = Listeners | "unknown";

type PortFacts = { port: number | undefined; exposed: readonly number[] | undefined };

/** The ports of a start, the one that requests are sent to first. `port` is that of container.json. */
export function expectedPorts({ port, readiness }: Pick<Spec, "port" | "readiness">, own: PortFacts): ExpectedPort[] {
  const health = readiness.kind === "http" ? readiness.port : undefined;
  const expected: ExpectedPort[] = [];
  if (port !== undefined) expected.push({ port, source: sourceOf(own) });
  if (health !== undefined && health !== port) expected.push({ port: health, source: HEALTH });
  return expected;
}

const HEALTH = "`health` in container.json";

function sourceOf({ port, exposed }: PortFacts): string {
  if (port !== undefined) return "`port` in container.json";
  return exposed?.length ? "EXPOSE" : HEALTH;
}

/** Names so many sockets of a program that listens on more. */
const MOST_NAMED = 3;

/** What prevents connections to a container that runs, for its author; undefined if it listens as expected, or if nothing is expected. */
export function describeListeners(expected: readonly ExpectedPort[], finding: ListenerFinding): string | undefined {
  const [first, ...more] = expected;
  if (first === undefined) return undefined;
  if (finding === "unknown") return `berth connects to port ${first.port}, as ${first.source} says.`;
  const { sockets, portVariable } = finding;
  if (sockets.length === 0) return "No process of it listens on a port.";
  // A plain process is reached on loopback, at the port that it was given.
  const reach = portVariable === undefined ? isNotLoopback : isIPv4;
  const main = portVariable === undefined ? first : { port: portVariable, source: "the variable PORT" };
  for (const { port, source } of [main, ...more]) {
    const there = sockets.filter((socket) => socket.port === port);
    if (there.some(reach)) continue;
    if (there.length > 0) return `The process listens on ${nameAll(there.map(formatSocket))}; listen on 0.0.0.0.`;
    const reached = sockets.filter(reach);
    if (reached.length > 0) return `The process listens on ${namePorts(reached)}, but ${source} says ${port}.`;
    return `The process listens on ${nameAll(sockets.map(formatSocket))}, but ${source} says ${port}; listen on 0.0.0.0:${port}.`;
  }
  return undefined;
}

/** `::` is every address, IPv4 too. */
function isNotLoopback({ host }: Address): boolean {
  return host !== "::1" && !host.startsWith("127.");
}

/** `::` takes IPv4 connections. */
function isIPv4({ host }: Address): boolean {
  return host === "::" || !host.includes(":");
}

function formatSocket({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function namePorts(sockets: readonly Address[]): string {
  const ports = [...new Set(sockets.map(({ port }) => String(port)))];
  return `${ports.length === 1 ? "port" : "ports"} ${nameAll(ports)}`;
}

function nameAll(words: readonly string[]): string {
  if (words.length > MOST_NAMED) return `${words.slice(0, MOST_NAMED).join(", ")} and ${words.length - MOST_NAMED} more`;
  return words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words.at(-1)}` : (words[0] ?? "");
}
