import { readFileSync } from "node:fs";
import { Agent } from "node:http";
import { Agent as TlsAgent } from "node:https";
import { join } from "node:path";
import { inspect } from "node:util";
import Docker from "dockerode";
import type { Clock } from "../../lib/clock.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import type { Capacity, Usage } from "../driver.ts";
import { advisedFault, unansweredFault } from "../faults.ts";
import { readJson } from "./dial.ts";
import { type CallKind, engineFault, undefinedOn } from "./faults.ts";

/** The time limit of every call except streams. */
const CALL_MS = 30_000;

const DEFAULT_HOST = "unix:///var/run/docker.sock";

/** The engine's host in the syntax of `DOCKER_HOST`, for TLS the folder of ca.pem, cert.pem and key.pem, and the time limit of a call. */
export type EngineAddress = { host?: string | undefined; tls?: { folder: string } | undefined; callMs?: number | undefined };

export type Engine = {
  docker: Docker;
  /** The host of an engine over TCP. */
  remote: string | undefined;
  clock: Clock;
  /**
   * One bounded, cancellable call. A call that the client cannot cancel ends by itself. Rejects with a `Fault` whose cause is the client's own error.
   * A call without a signal is one whose abort would leave something behind.
   */
  call<T>(call: EngineCall, task: (docker: Docker, signal: AbortSignal) => Promise<T>): Promise<T>;
  close(): void;
};

type EngineCall = { doing: string; signal?: AbortSignal | undefined; kind?: CallKind; ms?: number };

/** Opens no connection yet. Faults: SETTINGS_INVALID for a host that cannot be parsed. */
export function openEngine(at: EngineAddress, clock: Clock): Engine {
  const endpoint = parseHost(at);
  // No keep-alive: an idle connection that the engine closes at its reuse looks like an engine that is away.
  const agent = endpoint.protocol === "https" ? new TlsAgent({ keepAlive: false }) : new Agent({ keepAlive: false });
  // At every call docker-modem prints its options with this agent, for a debug line that is switched off. With all open sockets of the agent, 100 starts at
  // once kept control busy for minutes.
  Object.defineProperty(agent, inspect.custom, { value: () => "Agent" });
  const docker = new Docker({ ...endpoint, agent } as unknown as Docker.DockerOptions);
  return {
    docker,
    remote: endpoint.host,
    clock,
    call: async ({ doing, signal, kind = "control", ms = at.callMs ?? CALL_MS }, task) => {
      const overdue = () => {
        const sentence = `${doing}: the container engine did not answer within ${ms / 1000} s.`;
        // The engine itself waits for a registry.
        return kind === "pull" ? advisedFault("ENGINE_FAILED", sentence) : unansweredFault(sentence);
      };
      try {
        return await withTimeout({ clock, ms, overdue, signal }, (own) => task(docker, own));
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        throw engineFault(error, kind, doing, at.host ?? DEFAULT_HOST);
      }
    },
    close: () => agent.destroy(),
  };
}

/** Has all of the client's settings, even empty ones, because the client fills missing ones from the environment. */
function parseHost({ host = DEFAULT_HOST, tls }: EngineAddress) {
  const [, scheme = "tcp", rest = ""] = /^(?:([a-z]+):\/\/)?(.*)$/.exec(host) ?? [];
  if ((scheme === "unix" || scheme === "npipe") && rest !== "") {
    return { socketPath: rest, host: undefined, port: undefined, protocol: "http" as const, pathPrefix: "/" };
  }
  const url = URL.parse(`http://${rest}`);
  if (!["tcp", "http", "https"].includes(scheme) || !url || url.hostname === "") {
    throw new Fault("SETTINGS_INVALID", `DOCKER_HOST is "${host}"; allowed are unix:///path, npipe:////path and tcp://host:port.`);
  }
  const secure = tls !== undefined || scheme === "https";
  return {
    socketPath: undefined,
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: url.port || (secure ? "2376" : "2375"),
    protocol: secure ? ("https" as const) : ("http" as const),
    pathPrefix: url.pathname,
    ...(tls ? certificates(tls.folder) : {}),
  };
}

function certificates(folder: string) {
  try {
    const [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map((file) => readFileSync(join(folder, file)));
    return { ca, cert, key };
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `DOCKER_CERT_PATH must have readable files ca.pem, cert.pem and key.pem.`, { cause });
  }
}

const MEBIBYTE = 1_048_576;

/** The size of the engine's machine. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function engineCapacity(engine: Engine, signal: AbortSignal): Promise<Capacity> {
  const info = (await engine.call({ doing: "Inspecting the engine", signal }, (docker, own) => readJson(docker, "/info", own))) as {
    NCPU?: number;
    MemTotal?: number;
  };
  return { machines: 1, cpu: info.NCPU ?? 0, memoryMb: Math.floor((info.MemTotal ?? 0) / MEBIBYTE) };
}

/** The part of the engine's statistics that berth reads: docs.docker.com/reference/api/engine, `ContainerStats`. */
type ContainerStats = {
  /** The year 1 if the container does not run. */
  read?: string;
  /** In nanoseconds. */
  cpu_stats?: { cpu_usage?: { total_usage?: number } };
  networks?: Record<string, { rx_bytes?: number; tx_bytes?: number }>;
  /** `stats` is of the cgroup: `inactive_file` in version 2, `total_inactive_file` in version 1. */
  memory_stats?: { usage?: number; stats?: { inactive_file?: number; total_inactive_file?: number } };
};

/** The counters of a running container, by its id. At once, without the second that the engine would wait for a rate. */
export async function containerUsage(engine: Engine, id: string, signal: AbortSignal): Promise<Usage | undefined> {
  const stats = await undefinedOn([404, 409], () =>
    engine.call<ContainerStats>({ doing: `Reading the statistics of ${id}`, signal }, (docker, abortSignal) => {
      const options = { stream: false as const, "one-shot": true, abortSignal };
      return docker.getContainer(id).stats(options);
    }),
  );
  if (stats?.read === undefined || stats.read.startsWith("0001-")) return undefined;
  const networkBytes = Object.values(stats.networks ?? {}).reduce((sum, { rx_bytes = 0, tx_bytes = 0 }) => sum + rx_bytes + tx_bytes, 0);
  return { cpuMs: (stats.cpu_stats?.cpu_usage?.total_usage ?? 0) / 1e6, networkBytes, ...usedMemory(stats) };
}

/** As `docker stats` computes it: without what the kernel frees first. */
function usedMemory({ memory_stats: memory }: ContainerStats): { memoryBytes?: number } {
  if (memory?.usage === undefined) return {};
  const cached = memory.stats?.total_inactive_file ?? memory.stats?.inactive_file ?? 0;
  return { memoryBytes: Math.max(0, memory.usage - cached) };
}
