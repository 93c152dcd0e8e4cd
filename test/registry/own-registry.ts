import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Test } from "tap";
import { ADMIN_KEY, type Berth, eventually, startBerth } from "../fixtures/berth.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** `berth serve` with a registry of its own: Distribution, the proxy in front, tokens of control. */
const ROOT = join(import.meta.dirname, "../..");
export const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const digestOf = (text: string) => `sha256:${createHash("sha256").update(text).digest("hex")}`;

export type Own = {
  berth: Berth;
  data: string;
  base: string;
  /** For these scopes, with a developer key. */
  token(scopes: string[], of?: string): Promise<string>;
  push(repository: string, tag: string, layer: string): Promise<string>;
  status(path: string, init?: RequestInit): Promise<number>;
  /** `berth registry …` on the same data folder. */
  command(...args: string[]): Promise<{ code: number | null; out: string }>;
};

export async function openOwn(t: Test, more: Record<string, string> = {}): Promise<Own> {
  const data = tempFolder(t);
  const env = { BERTH_DRIVER: "process", BERTH_REGISTRY: "embedded", BERTH_REGISTRY_PORT: "0", XDG_RUNTIME_DIR: data, ...more };
  const berth = await startBerth({ data, env });
  t.teardown(() => berth.stop());
  const base = await eventually("the registry's address", 5_000, async () => /registry proxy at (\S+)/.exec(berth.output())?.[1]);
  const token = async (scopes: string[], of = ADMIN_KEY) => {
    const query = new URLSearchParams([["service", "docker-registry"], ...scopes.map((scope) => ["scope", scope])]);
    const key = Buffer.from(`any:${of}`).toString("base64");
    const answer = await fetch(`${base}/token?${query.toString()}`, { headers: { authorization: `Basic ${key}` } });
    return ((await answer.json()) as { token: string }).token;
  };
  const status = async (path: string, init: RequestInit = {}) => {
    const answer = await fetch(`${base}${path}`, init);
    await answer.arrayBuffer();
    return answer.status;
  };
  const push = async (repository: string, tag: string, layer: string) => {
    const authorization = `Bearer ${await token([`repository:${repository}:pull,push`])}`;
    const begun = await fetch(`${base}/v2/${repository}/blobs/uploads/`, { method: "POST", headers: { authorization } });
    const at = new URL(begun.headers.get("location") ?? "", base);
    at.searchParams.set("digest", digestOf(layer));
    t.equal((await fetch(at, { method: "PUT", headers: { authorization }, body: layer })).status, 201);
    const described = { mediaType: "application/octet-stream", size: layer.length, digest: digestOf(layer) };
    const manifest = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config: described, layers: [described] });
    const headers = { authorization, "content-type": MANIFEST };
    t.equal((await fetch(`${base}/v2/${repository}/manifests/${tag}`, { method: "PUT", headers, body: manifest })).status, 201);
    return digestOf(manifest);
  };
  const command = (...args: string[]) =>
    new Promise<{ code: number | null; out: string }>((resolve) => {
      const own = { PATH: process.env["PATH"] ?? "", BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY, ...env };
      const child = spawn(process.execPath, [join(ROOT, "berth.ts"), "registry", ...args], { cwd: data, env: own });
      let out = "";
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece: Buffer) => (out += piece.toString()));
      child.once("close", (code) => resolve({ code, out }));
    });
  return { berth, data, base, token, push, status, command };
}

/** The processes of Distribution on this data folder, by what they were started with. */
export function distributions(data: string): number[] {
  const lines = execFileSync("ps", ["-eo", "pid=,args="], { encoding: "utf8" }).split("\n");
  return lines.filter((line) => line.includes(` serve ${data}`)).map((line) => Number.parseInt(line, 10));
}
