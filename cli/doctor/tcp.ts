import { lookup } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { Fault } from "../../lib/fault.ts";
import { reasonOf } from "../../lib/http-client.ts";
import { isLoopback, tcpListenerOptions } from "../../processes/listeners.ts";
import { localApi } from "../command-context.ts";
import { type CheckContext, type CheckProblem, type CheckResult, failure, warning } from "./check.ts";

type ListedContainer = { name: string; address?: string | null; port?: number | null };

/** Checks the listeners of databases without a connection, which would start them. */
export async function checkTcpListeners({ settings, context }: CheckContext): Promise<CheckResult> {
  const options = tcpListenerOptions(settings);
  if (options === undefined) return { unlooked: "BERTH_TCP_PORTS is not set" };
  const { host, ports } = options;
  const problems: CheckProblem[] = [];
  if (isLoopback(host))
    problems.push(
      warning(
        `TCP listeners are advertised at ${host}, which only programs of this machine reach.`,
        "Set BERTH_TCP_HOST to an address of the internal network, or BERTH_TCP_ADVERTISED_HOST to the host that clients use.",
      ),
    );
  else if (isIP(host) === 0)
    await lookup(host).catch((cause: unknown) => {
      problems.push(failure(`The name ${host} cannot be resolved: ${reasonOf(cause)}.`, "Correct BERTH_TCP_ADVERTISED_HOST."));
    });
  const containers = await localApi(context)<ListedContainer[]>("GET", "/docker/containers?include=short&limit=0").catch((error: unknown) => {
    if (error instanceof Fault) return undefined;
    throw error;
  });
  if (containers === undefined) return { says: `at ${host}; control did not list the containers`, problems };
  const assigned = containers.flatMap(({ name, address, port }) => {
    const isListener = address === host && typeof port === "number" && port >= ports.first && port <= ports.last;
    return isListener ? [{ name, port }] : [];
  });
  const listening = listeningPorts();
  for (const { name, port } of assigned)
    if (listening?.has(port) === false)
      problems.push(failure(`Nothing listens on port ${port} for ${name}.`, "Read the gateway's log: another program may have the port."));
  const count = ports.last - ports.first + 1;
  if (assigned.length >= count)
    problems.push(warning(`All ${count} ports of BERTH_TCP_PORTS are assigned.`, "Extend the range before more databases are published."));
  return { says: `${assigned.length} of ${count} ports assigned, at ${host}`, problems };
}

const LISTEN = "0A";

/** The TCP ports on which this machine, or container, listens; undefined: unknown. */
function listeningPorts(): Set<number> | undefined {
  try {
    const lines = ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((file) => readFileSync(file, "latin1").split("\n").slice(1));
    return new Set(
      lines.flatMap((line) => {
        const [, local = "", , state] = line.trim().split(/\s+/);
        return state === LISTEN ? [Number.parseInt(local.slice(local.lastIndexOf(":") + 1), 16)] : [];
      }),
    );
  } catch {
    return undefined;
  }
}
