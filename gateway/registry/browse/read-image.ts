import { createHash } from "node:crypto";
import type { StoredManifest } from "../../contract.ts";
import type { HttpReply } from "../../../lib/http-client.ts";

/** What a manifest says, once it has been looked at: anybody who may push writes one, and a registry need not read what it keeps. */
type Descriptor = { digest: string; size: number; platform: string | undefined };

/** Layers of an image, or images of an index; engines take 127 layers. */
const MAX_DESCRIPTORS = 1_000;

/** As they stand in an address, with nothing that would lead elsewhere in the registry. */
const DIGEST = /^[a-z0-9+._-]+:[0-9a-f]{32,128}$/;

/** `config` fetches a configuration by its digest; `{}` where it is not to be had. */
export async function readImage(parts: {
  reply: HttpReply;
  manifest: Record<string, unknown>;
  config(digest: string): Promise<Record<string, unknown>>;
}): Promise<StoredManifest> {
  const { reply, manifest } = parts;
  const layers = listOf(manifest["layers"]).map(({ digest, size }) => ({ digest, size }));
  const images = listOf(manifest["manifests"]).map(({ digest, size, platform }) => ({ digest, size, platform: platform ?? "unknown" }));
  const config = descriptorOf(manifest["config"]);
  const built = DIGEST.test(config.digest) ? await parts.config(config.digest) : {};
  return {
    digest: reply.header("docker-content-digest") ?? `sha256:${createHash("sha256").update(reply.body).digest("hex")}`,
    mediaType: textOf(manifest["mediaType"]) ?? reply.header("content-type") ?? "",
    size: sum(layers) + sum(images) + config.size,
    createdOn: textOf(built["created"]),
    platform: platformOf(built),
    layers,
    images,
  };
}

function listOf(value: unknown): Descriptor[] {
  return Array.isArray(value) ? value.slice(0, MAX_DESCRIPTORS).map(descriptorOf) : [];
}

function descriptorOf(value: unknown): Descriptor {
  const { digest, size, platform } = fieldsOf(value);
  return { digest: textOf(digest) ?? "", size: Number.isSafeInteger(size) ? Math.max(0, Number(size)) : 0, platform: platformOf(fieldsOf(platform)) };
}

function sum(parts: readonly { size: number }[]): number {
  return parts.reduce((all, { size }) => all + size, 0);
}

function platformOf({ os, architecture, variant }: Record<string, unknown>): string | undefined {
  const [system, processor, kind] = [textOf(os), textOf(architecture), textOf(variant)];
  if (system === undefined || processor === undefined) return undefined;
  return [system, processor, ...(kind === undefined || kind === "" ? [] : [kind])].join("/");
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
