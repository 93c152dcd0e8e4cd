import { execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import type { Test } from "tap";
import { ADMIN_KEY, type Berth, startBerth } from "../../fixtures/berth.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { registryClient, type TestRegistryClient } from "./registry-client.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** `berth serve` with a registry of its own: Distribution, the proxy in front, tokens of control. */
const ROOT = join(import.meta.dirname, "../../..");

export type Own = TestRegistryClient & {
  berth: Berth;
  data: string;
  base: string;
  /** `berth registry …` on the same data folder. */
  command(...args: string[]): Promise<{ code: number | null; out: string }>;
};

export async function openOwn(t: Test, more: Record<string, string> = {}, data = tempFolder(t)): Promise<Own> {
  const env = { BERTH_DRIVER: "process", BERTH_REGISTRY: "embedded", BERTH_REGISTRY_PORT: "0", XDG_RUNTIME_DIR: data, ...more };
  const berth = await startBerth({ data, env });
  t.teardown(() => berth.stop());
  const base = await eventually("the registry's address", async () => /registry proxy at (\S+)/.exec(berth.output())?.[1]);
  const command = (...args: string[]) =>
    new Promise<{ code: number | null; out: string }>((resolve) => {
      const own = { PATH: process.env["PATH"] ?? "", BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY, ...env };
      const child = spawn(process.execPath, [join(ROOT, "berth.ts"), "registry", ...args], { cwd: data, env: own });
      let out = "";
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece: Buffer) => (out += piece.toString()));
      child.once("close", (code) => resolve({ code, out }));
    });
  return { berth, data, base, ...registryClient(t, base), command };
}

/** The processes of Distribution on this data folder, by what they were started with. */
export function distributions(data: string): number[] {
  const lines = execFileSync("ps", ["-eo", "pid=,args="], { encoding: "utf8" }).split("\n");
  return lines.filter((line) => line.includes(` serve ${data}`)).map((line) => Number.parseInt(line, 10));
}
