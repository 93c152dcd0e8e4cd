import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";

import { tempFolder } from "../../fixtures/temp-folder.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { freePort } from "../../fixtures/server.ts";

export type Distribution = {
  host: string;
  port: number;
  /** All that it logged. */
  log(): string;
  kill(): Promise<void>;
  /** On the same port and folder as before. */
  start(): Promise<void>;
};

/** Debian's Distribution on a port of its own, which takes deletes. `more` is YAML below `http:`, or beside it. */
export async function openDistribution(t: Pick<Test, "teardown">, more: { http?: string; beside?: string } = {}): Promise<Distribution> {
  const folder = tempFolder(t);
  const port = await freePort();
  const storage = join(folder, "storage");
  mkdirSync(storage);
  const config = join(folder, "config.yml");
  writeFileSync(
    config,
    `version: 0.1
log: { level: info, accesslog: { disabled: false } }
storage: { filesystem: { rootdirectory: ${storage} }, delete: { enabled: true } }
http:
  addr: 127.0.0.1:${port}
${more.http ?? ""}
${more.beside ?? ""}
`,
  );
  const written: string[] = [];
  const run = async () => {
    const child = spawn("docker-registry", ["serve", config], { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece: Buffer) => void written.push(piece.toString()));
    const killed = () => child.kill("SIGKILL");
    process.once("exit", killed);
    child.once("exit", () => process.off("exit", killed));
    await eventually("Distribution", () =>
      child.exitCode === null ? fetch(`http://127.0.0.1:${port}/`).catch(() => undefined) : Promise.reject(new Error(written.join(""))),
    );
    return child;
  };
  let child = await run();
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  };
  t.teardown(kill);
  return {
    host: `127.0.0.1:${port}`,
    port,
    log: () => written.join(""),
    kill,
    start: async () => void (child = await run()),
  };
}
