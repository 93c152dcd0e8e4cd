import { createHash } from "node:crypto";
import type { RepositoryAccess } from "../../../../lib/registry-client/registry-client.ts";
import type { Upstream } from "../../../../gateway/registry/upstream/upstream.ts";
import { PATIENCE_MS } from "../../../fixtures/eventually.ts";

export const signal = () => AbortSignal.timeout(PATIENCE_MS);

/** Without it, Debian's version makes an image of the first format of it. */
const MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";

/** Asks the registry as the proxy does: with the upstream's credential, and once more with another where that one is refused. */
export async function through(upstream: Upstream, ask: RepositoryAccess, path: string, init: RequestInit = {}): Promise<Response> {
  const scheme = "tls" in upstream.target && upstream.target.tls ? "https" : "http";
  const url = path.startsWith("http") ? path : `${scheme}://${upstream.host}${upstream.basePath}${path}`;
  const send = async (authorization: string | undefined) => {
    const own = authorization === undefined ? {} : { authorization };
    const answer = await fetch(url, { ...init, headers: { accept: MANIFEST, ...(init.headers as Record<string, string>), ...own } });
    if (authorization !== undefined && answer.ok) upstream.accepted?.(authorization);
    return answer;
  };
  const first = await send(await upstream.authorization(ask, signal()));
  if (first.status !== 401) return first;
  const another = await upstream.refused(ask, first.headers.get("www-authenticate") ?? undefined, signal());
  return another === undefined ? first : send(another);
}

/** Pushes an image of no layers; the digest of its manifest, or the status of what refused it. */
export async function push(upstream: Upstream, repository: string, tag: string, text = tag): Promise<string | number> {
  const ask = { repository, actions: ["pull", "push"] as const };
  const config = Buffer.from(
    JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [] }, config: { Env: [`TEXT=${text}`] } }),
  );
  const digest = `sha256:${createHash("sha256").update(config).digest("hex")}`;
  const begun = await through(upstream, ask, `/v2/${repository}/blobs/uploads/`, { method: "POST" });
  if (begun.status !== 202) return begun.status;
  const at = new URL(begun.headers.get("location") ?? "", `http://${upstream.host}`);
  at.searchParams.set("digest", digest);
  const put = await through(upstream, ask, at.href, { method: "PUT", body: config, headers: { "content-type": "application/octet-stream" } });
  if (put.status !== 201) return put.status;
  const mediaType = MANIFEST;
  const manifest = {
    schemaVersion: 2,
    mediaType,
    config: { mediaType: "application/vnd.docker.container.image.v1+json", size: config.length, digest },
    layers: [],
  };
  const sent = { method: "PUT", body: JSON.stringify(manifest), headers: { "content-type": mediaType } };
  const done = await through(upstream, ask, `/v2/${repository}/manifests/${tag}`, sent);
  return done.status === 201 ? (done.headers.get("docker-content-digest") ?? "") : done.status;
}
