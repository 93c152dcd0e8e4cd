import { execFileSync } from "node:child_process";
import { Agent, get } from "node:http";
import { join } from "node:path";
import type { Test } from "tap";
import { startBerthProcess } from "../../fixtures/berth-process.ts";
import { rolesBelow } from "../../fixtures/processes.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { ENV, openOwnNetwork } from "./own-network.ts";
import { pause } from "../../fixtures/clock.ts";

/** A `berth gateway` in a network of its own, as on another machine: one cable leads to control, containers and clients. */
export type GatewayElsewhere = {
  base(): string;
  start(): Promise<void>;
  /** `kill -9` of all its processes. */
  kill(): Promise<void>;
  /** Pulls the cable, and puts it back. */
  cut(): void;
  mend(): void;
  /** From in there, nothing gets to this address any more; everything else does. */
  lose(address: string): void;
  find(address: string): void;
  output(): string;
};

const BERTH = join(import.meta.dirname, "../../../berth.ts");

/** `nth` tells several of one test apart. */
export async function openGatewayElsewhere(t: Test, nth: number, env: Record<string, string>): Promise<GatewayElsewhere> {
  const network = await openOwnNetwork(nth);
  t.teardown(() => network.close());
  const here = (...args: string[]) => void execFileSync("ip", args, { env: ENV, stdio: "pipe" });
  const inside = (...args: string[]) => {
    const [program, all] = network.inside("ip", ...args);
    execFileSync(program, all, { env: ENV, stdio: "pipe" });
  };
  inside("route", "add", "default", "via", network.here);
  const folder = tempFolder(t);
  const [program, args] = network.inside(process.execPath, BERTH);
  const open = () =>
    startBerthProcess({
      role: "gateway",
      cwd: folder,
      env: { BERTH_EDGE_HOST: network.there, BERTH_EDGE_PORT: "0", BERTH_WORKERS: "2", ...env },
      announces: /http:\/\/\S+?:\d+/,
      command: [program, ...args],
    });
  let running = await open();
  t.teardown(() => running.end("SIGKILL"));
  return {
    base: () => running.announced[0],
    output: () => running.output(),
    start: async () => void (running = await open()),
    kill: async () => {
      const workers = rolesBelow(running.pid)["gateway"] ?? [];
      const gone = running.end("SIGKILL");
      for (const pid of workers) process.kill(pid, "SIGKILL");
      await gone;
    },
    cut: () => here("link", "set", network.cable, "down"),
    mend: () => here("link", "set", network.cable, "up"),
    lose: (address) => inside("route", "add", "blackhole", `${address}/32`),
    find: (address) => inside("route", "del", "blackhole", `${address}/32`),
  };
}

export type GatewayResponse = { status: number; body: string };

/** One request; `fetch` would take a connection of its own choice. */
export function ask(url: string, token: string, agent?: Agent): Promise<GatewayResponse> {
  return new Promise((resolve, reject) => {
    const sent = get(url, { agent: agent ?? false, headers: { authorization: token }, timeout: 60_000 }, (answer) => {
      let body = "";
      answer.setEncoding("utf8");
      answer.on("data", (piece: string) => (body += piece));
      answer.once("error", reject);
      answer.once("end", () => resolve({ status: answer.statusCode ?? 0, body }));
    });
    sent.once("timeout", () => sent.destroy(new Error("no answer")));
    sent.once("error", reject);
  });
}

const CLIENTS = 4;
const PAUSE_MS = 25;

/** Clients that go on asking over connections that they keep; what they got other than 200 is `failures`. */
export function openLoad(url: string, token: string): { failures: string[]; served(): number; end(): Promise<void> } {
  const failures: string[] = [];
  let served = 0;
  const over = new AbortController();
  const clients = Array.from({ length: CLIENTS }, async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    while (!over.signal.aborted) {
      const { status, body } = await ask(url, token, agent).catch((error: Error) => ({ status: 0, body: error.message }));
      if (status === 200) served++;
      else failures.push(`${status} ${body}`);
      await pause(PAUSE_MS);
    }
    agent.destroy();
  });
  return {
    failures,
    served: () => served,
    end: async () => {
      over.abort();
      await Promise.all(clients);
    },
  };
}
