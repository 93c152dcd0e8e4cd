import { createHash } from "node:crypto";
import { Fault } from "../../../lib/fault.ts";
import type { HttpClient } from "../../../lib/http-client.ts";
import { askUpstream } from "./ask-upstream.ts";
import type { Upstream } from "./upstream.ts";

/** Indexes first: their digest is the one that an engine knows an image by. */
export const MANIFESTS = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

/**
 * What a tag, or a digest, of a repository points at; undefined where it is not there. Faults: PULL_DENIED, REGISTRY_UNREACHABLE,
 * UPSTREAM_CREDENTIAL_FAILED.
 */
export async function manifestDigest(
  upstream: Upstream,
  http: HttpClient,
  { repository, version }: { repository: string; version: string },
  signal: AbortSignal,
): Promise<string | undefined> {
  const send = (method: "HEAD" | "GET") =>
    askUpstream(upstream, http, {
      repository,
      actions: ["pull"],
      method,
      path: `${upstream.nameOf(repository)}/manifests/${version}`,
      accept: MANIFESTS,
      signal,
    });
  const reply = await send("HEAD");
  if (reply.status === 404) return undefined;
  if (reply.status === 401 || reply.status === 403) {
    throw new Fault("PULL_DENIED", `The registry ${upstream.host} does not let ${repository} be read (${reply.status}).`);
  }
  if (reply.status !== 200) throw new Fault("REGISTRY_UNREACHABLE", `The registry ${upstream.host} answered ${reply.status} for ${repository}.`);
  const told = reply.header("docker-content-digest");
  if (told !== undefined && /^[a-z0-9+._-]+:[0-9a-f]{32,}$/.test(told)) return told;
  const whole = await send("GET");
  return whole.status === 200 ? `sha256:${createHash("sha256").update(whole.body).digest("hex")}` : undefined;
}
