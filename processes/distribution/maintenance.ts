import { once } from "node:events";
import { rmSync, chmodSync } from "node:fs";
import { createServer, request } from "node:http";
import { Fault, type FaultData } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { type Collected, collectGarbage } from "./collect-garbage.ts";
import type { OwnRegistry } from "./open-distribution.ts";

/** How long a collection may take: it reads every manifest there is. */
const LONGEST_MS = 6 * 3_600_000;

/**
 * Takes what an operator wants of the registry that runs: only who keeps it running can stop writes meanwhile. On a Unix socket in a folder
 * of this user alone.
 */
export async function openMaintenance(options: { socket: string; registry: OwnRegistry; log: Log }): Promise<{ close(): Promise<void> }> {
  const { socket, registry, log } = options;
  const server = createServer((asked, answer) => {
    asked.resume();
    if (asked.method !== "POST" || asked.url !== "/garbage") return void answer.writeHead(404).end();
    void collect().catch((error: unknown) => {
      const fault =
        error instanceof Fault ? error : new Fault("REGISTRY_FAILED", "Garbage cannot be collected: berth's log says why.", { cause: error });
      if (fault.code !== "REGISTRY_BUSY") log.error({ err: error }, "garbage cannot be collected");
      answer.writeHead(fault.status).end(JSON.stringify(fault.toJSON()));
    });
    async function collect(): Promise<void> {
      const result = await registry.whileReadOnly(() => {
        log.info({}, "garbage is collected: nothing can be pushed or deleted meanwhile");
        return collectGarbage({ ...registry, dryRun: false });
      });
      log.info({ blobs: result.blobs.length, bytes: result.bytes }, "garbage was collected");
      answer.end(JSON.stringify(result));
    }
  });
  server.requestTimeout = 0;
  rmSync(socket, { force: true });
  server.listen(socket);
  await once(server, "listening");
  chmodSync(socket, 0o600);
  return {
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

/** Has the berth that runs collect garbage; undefined where none does. Faults: those of collecting, REGISTRY_FAILED. */
export function askToCollect(socketPath: string): Promise<Collected | undefined> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path: "/garbage", method: "POST", agent: false, timeout: LONGEST_MS }, (answer) => {
      let came = "";
      answer.setEncoding("utf8").on("data", (piece: string) => (came += piece));
      answer.once("end", () => {
        const said = JSON.parse(came) as Collected | FaultData;
        if ("code" in said) reject(Fault.from(said));
        else resolve(said);
      });
    });
    sent.once("error", (cause: NodeJS.ErrnoException) => {
      if (cause.code === "ENOENT" || cause.code === "ECONNREFUSED") resolve(undefined);
      else reject(new Fault("REGISTRY_FAILED", "The berth that runs ended before it had collected garbage.", { cause }));
    });
    sent.end();
  });
}
