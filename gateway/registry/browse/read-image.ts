import { createHash } from "node:crypto";
import type { StoredImage } from "../../registry-browser.ts";
import type { Said } from "../upstream/ask-http.ts";

type Descriptor = { digest?: string; size?: number; platform?: { os?: string; architecture?: string; variant?: string } };
type Manifest = { mediaType?: string; config?: Descriptor; layers?: Descriptor[]; manifests?: Descriptor[] };

/** `config` fetches a configuration by its digest; `{}` where it is not to be had. */
export async function readImage(parts: {
  said: Said;
  manifest: Record<string, unknown>;
  config(digest: string): Promise<Record<string, unknown>>;
}): Promise<StoredImage> {
  const { said } = parts;
  const manifest = parts.manifest as Manifest;
  const layers = (manifest.layers ?? []).map(sized);
  const images = (manifest.manifests ?? []).map((one) => ({ ...sized(one), platform: platformOf(one.platform) ?? "unknown" }));
  const built: { created?: unknown; os?: string; architecture?: string } =
    manifest.config?.digest === undefined ? {} : await parts.config(manifest.config.digest);
  return {
    digest: said.header("docker-content-digest") ?? `sha256:${createHash("sha256").update(said.body).digest("hex")}`,
    mediaType: manifest.mediaType ?? said.header("content-type") ?? "",
    size: sum(layers) + sum(images) + (manifest.config?.size ?? 0),
    createdOn: typeof built.created === "string" ? built.created : undefined,
    platform: platformOf(built),
    layers,
    images,
  };
}

function sized({ digest = "", size = 0 }: Descriptor): { digest: string; size: number } {
  return { digest, size };
}

function sum(parts: readonly { size: number }[]): number {
  return parts.reduce((all, { size }) => all + size, 0);
}

function platformOf(of: Descriptor["platform"]): string | undefined {
  if (of?.os === undefined || of.architecture === undefined) return undefined;
  return [of.os, of.architecture, of.variant].filter((part) => part !== undefined && part !== "").join("/");
}
