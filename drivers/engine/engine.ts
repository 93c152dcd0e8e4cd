import { readFileSync } from "node:fs";
import { Agent } from "node:http";
import { Agent as TlsAgent } from "node:https";
import { join } from "node:path";
import { inspect } from "node:util";
import Docker from "dockerode";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { advisedFault, unansweredFault } from "../faults.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { engineFault, type Reading } from "./faults.ts";
import type { Capacity } from "../driver.ts";

/** Every call that is not a stream answers within this, or the engine counts as unreachable. */
const CALL_MS = 30_000;

const USUAL_HOST = "unix:///var/run/docker.sock";

/** Where the engine is: `DOCKER_HOST`'s syntax, and for TLS the folder that holds ca.pem, cert.pem and key.pem. `callMs`: the limit of a call. */
export type EngineAt = { host?: string | undefined; tls?: { folder: string } | undefined; callMs?: number | undefined };

export type Engine = {
  docker: Docker;
  /** The engine's machine, where it is another one than ours. */
  remote: string | undefined;
  clock: Clock;
  /**
   * One bounded, cancellable call; the few that the client cannot cancel are left to end by themselves. Rejects with a `Fault` whose cause is the client's own error, or with the signal's reason.
   * A caller that leaves the signal out says that being cut off in the middle would leave something behind.
   */
  call<T>(asked: EngineCall, task: (docker: Docker, signal: AbortSignal) => Promise<T>): Promise<T>;
  close(): void;
};

export type EngineCall = { doing: string; signal?: AbortSignal | undefined; reading?: Reading; ms?: number };

/** Opens no connection yet. Faults: SETTINGS_INVALID for a host that cannot be read. */
export function openEngine(at: EngineAt, clock: Clock): Engine {
  const where = readHost(at);
  // No keep-alive: a kept connection that the engine closes while it is being reused looks like an engine that is away.
  const agent = where.protocol === "https" ? new TlsAgent({ keepAlive: false }) : new Agent({ keepAlive: false });
  // docker-modem prints its options, this agent with them, at every call for a debug line that is switched off. Printed whole, the agent has every open socket: 100 starts
  // at once kept control busy for minutes.
  Object.defineProperty(agent, inspect.custom, { value: () => "Agent" });
  const docker = new Docker({ ...where, agent } as unknown as Docker.DockerOptions);
  return {
    docker,
    remote: where.host,
    clock,
    call: async ({ doing, signal, reading = "control", ms = at.callMs ?? CALL_MS }, task) => {
      const overdue = () => {
        const sentence = `${doing}: the container engine did not answer within ${ms / 1000} s.`;
        // There the engine itself waits for a registry.
        return reading === "pull" ? advisedFault("ENGINE_FAILED", sentence) : unansweredFault(sentence);
      };
      try {
        return await withTimeout({ clock, ms, overdue, signal }, (own) => task(docker, own));
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        throw engineFault(error, reading, doing, at.host ?? USUAL_HOST);
      }
    },
    close: () => agent.destroy(),
  };
}

/** All of the client's settings are given, even the empty ones, since it fills gaps from the environment by itself. */
function readHost({ host = USUAL_HOST, tls }: EngineAt) {
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
    throw new Fault("SETTINGS_INVALID", `DOCKER_CERT_PATH must hold ca.pem, cert.pem and key.pem that can be read.`, { cause });
  }
}

const MEBIBYTE = 1_048_576;

/** What the machine of an engine has. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function engineCapacity(engine: Engine, signal: AbortSignal): Promise<Capacity> {
  const info = (await engine.call({ doing: "Asking the engine what it has", signal }, (docker) => docker.info())) as {
    NCPU?: number;
    MemTotal?: number;
  };
  return { machines: 1, cpu: info.NCPU ?? 0, memoryMb: Math.floor((info.MemTotal ?? 0) / MEBIBYTE) };
}
