import { createHash } from "node:crypto";
import { Fault } from "../../../lib/fault.ts";
import type { HttpClient } from "../../../lib/http-client.ts";
import { MANIFEST_TYPES } from "../../../lib/registry-client/registry-client.ts";
import { type Upstream, upstreamClient } from "./upstream.ts";

/**
 * The digest of a tag, or a digest, of a repository; undefined where it is not there. Faults: PULL_DENIED, REGISTRY_UNREACHABLE,
 * UPSTREAM_CREDENTIAL_FAILED.
 */
export async function manifestDigest(
  upstream: Upstream,
  http: Pick<HttpClient, "request">,
  { repository, version }: { repository: string; version: string },
  signal: AbortSignal,
): Promise<string | undefined> {
  const path = `${upstream.nameOf(repository)}/manifests/${version}`;
  const request = { repository, actions: ["pull"], path, accept: MANIFEST_TYPES, signal } as const;
  const client = upstreamClient(upstream, http);
  const { status, header } = await client.send({ ...request, method: "HEAD" });
  if (status === 404) return undefined;
  if (status === 401 || status === 403)
    throw new Fault("PULL_DENIED", `The registry ${upstream.host} does not let ${repository} be read (${status}).`);
  if (status !== 200) throw new Fault("REGISTRY_UNREACHABLE", `The registry ${upstream.host} answered ${status} for ${repository}.`);
  const digest = header("docker-content-digest");
  if (digest !== undefined && /^[a-z0-9+._-]+:[0-9a-f]{32,}$/.test(digest)) return digest;
  const manifest = await client.send(request);
  return manifest.status === 200 ? `sha256:${createHash("sha256").update(manifest.body).digest("hex")}` : undefined;
}
