import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Held, SoakGatewayOptions } from "./gateway.ts";
import { pause } from "../fixtures/clock.ts";
import { kernelConnections } from "./open-objects.ts";

/** A gateway and its containers, each in a process of its own. */
export type SoakWorld = {
  port: number;
  /** What the gateway holds once nothing goes on there any more; waits for that, but not for ever. */
  settled(): Promise<SoakSnapshot>;
  /** What is open in the gateway, in the containers, and between the processes. */
  describeOpen(): Promise<string[]>;
  /** What the gateway recorded of an exchange that has just ended, and of HTTP/2 connections. `id`: in the request's target. */
  describeExchange(id: string): Promise<string[]>;
  close(): void;
};

export type SoakSnapshot = Held & { files: number };

/** Each is an address of its own, since a gateway has 28 000 ports towards any one. */
const LIVE = Array.from({ length: 16 }, (_, at) => ({ id: idOf(at), host: `127.0.1.${at + 1}` }));

export const LIVE_IDS: readonly string[] = LIVE.map(({ id }) => id);
export const DEAD_ID = idOf(100);
export const COMING_ID = idOf(101);
export const STOPPED_ID = idOf(102);
export const UNKNOWN_ID = idOf(103);

export function idOf(number: number): string {
  return `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
}

/** Longer than connections to containers are kept, lingering ones are waited for, and all of them together. */
const SETTLED_WITHIN_MS = 30_000;

/** `options`: of the gateway, once the containers' message is there, which says their ports. */
export async function openSoakWorld(containersFile: string, options: (ports: Record<string, number>) => SoakGatewayOptions): Promise<SoakWorld> {
  const containers = fork(containersFile);
  const ports = (await nextMessage(containers)) as Record<string, number>;
  const args = [JSON.stringify(options(ports))];
  const gateway = fork(join(import.meta.dirname, "gateway.ts"), args, { execArgv: ["--expose-gc", "--no-warnings"] });
  const { port } = (await nextMessage(gateway)) as { port: number };
  const files = () => readdirSync(`/proc/${gateway.pid}/fd`).length;
  const ask = <Answer>(what: string, child = gateway) => {
    child.send(what);
    return nextMessage(child) as Promise<Answer>;
  };
  // Nothing goes on before the first client.
  const quiet = files();
  // A gateway that looks for revoked sessions again and again always has a timer for it.
  const { timers: lasting } = await ask<{ timers: number }>("timers");

  return {
    port,
    settled: async () => {
      const end = performance.now() + SETTLED_WITHIN_MS;
      while (performance.now() < end) {
        const { timers } = await ask<{ timers: number }>("timers");
        if (timers <= lasting && files() <= quiet) break;
        await pause(100);
      }
      return { ...(await ask<Held>("held")), files: files() };
    },
    describeOpen: async () => {
      const kernel = kernelConnections([port, ...Object.values(ports)]);
      const ofGateway = await ask<string[]>("open");
      return ["Gateway:", ...ofGateway, "Containers:", ...(await ask<string[]>("open", containers)), "Kernel:", ...kernel];
    },
    describeExchange: (id) => ask<string[]>(`exchange ${id}`),
    close: () => {
      for (const child of [gateway, containers]) if (child.connected) child.disconnect();
    },
  };
}

export function openWorld(): Promise<SoakWorld> {
  return openSoakWorld(join(import.meta.dirname, "containers.ts"), ({ port = 0 }) => ({
    views: {
      ...Object.fromEntries(LIVE.map(({ id, host }) => [id, { kind: "awake", addresses: [{ host, port }] } as const])),
      // Nothing listens at a port this low.
      [DEAD_ID]: { kind: "awake", addresses: [{ host: "127.0.1.100", port: 1 }] },
      [COMING_ID]: { kind: "coming" },
      [STOPPED_ID]: { kind: "stopped", fault: { code: "CONTAINER_STOPPED", message: "Stopped" } },
    },
  }));
}

async function nextMessage(child: ChildProcess): Promise<unknown> {
  const over = new AbortController();
  try {
    return await Promise.race([
      once(child, "message", { signal: over.signal }).then(([message]) => message as unknown),
      once(child, "exit", { signal: over.signal }).then(([code]) => Promise.reject(new Error(`A process of the soak ended by itself (${code})`))),
    ]);
  } finally {
    over.abort();
  }
}
