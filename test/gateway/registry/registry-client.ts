import { createHash } from "node:crypto";
import type { Test } from "tap";
import { ADMIN_KEY } from "../../fixtures/berth.ts";

export const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const digestOf = (text: string | Buffer) => `sha256:${createHash("sha256").update(text).digest("hex")}`;

export type TestRegistryClient = {
  /** For these scopes, with a developer key. */
  token(scopes: string[], of?: string): Promise<string>;
  /** An image of one layer, with a developer key; its digest. */
  push(repository: string, tag: string, layer: string, of?: string): Promise<string>;
  status(path: string, init?: RequestInit): Promise<number>;
};

/** What docker does with the registry at `base`, as far as tests need it. */
export function registryClient(t: Test, base: string): TestRegistryClient {
  const token: TestRegistryClient["token"] = async (scopes, of = ADMIN_KEY) => {
    const query = new URLSearchParams([["service", "docker-registry"], ...scopes.map((scope) => ["scope", scope])]);
    const key = Buffer.from(`any:${of}`).toString("base64");
    const answer = await fetch(`${base}/token?${query.toString()}`, { headers: { authorization: `Basic ${key}` } });
    return ((await answer.json()) as { token: string }).token;
  };
  const status: TestRegistryClient["status"] = async (path, init = {}) => {
    const answer = await fetch(`${base}${path}`, init);
    await answer.arrayBuffer();
    return answer.status;
  };
  const push: TestRegistryClient["push"] = async (repository, tag, layer, of) => {
    const authorization = `Bearer ${await token([`repository:${repository}:pull,push`], of)}`;
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
  return { token, push, status };
}
