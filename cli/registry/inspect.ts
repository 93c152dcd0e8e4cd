import { Fault } from "../../lib/fault.ts";
import { MANIFEST_TYPES } from "../../lib/registry-client/registry-client.ts";
import type { V2 } from "./open-v2.ts";
import { isRepository } from "../../gateway/registry/permit.ts";

/** What `inspect` shows. An image for several platforms has their sizes, but no configuration. */
type InspectedImage = {
  digest: string;
  mediaType: string;
  bytes: number;
  platforms: string[];
  layers: { digest: string; bytes: number }[];
  created: string | null;
  ports: string[];
  command: string[];
  /** Names alone: values may be secrets. */
  variables: string[];
};

type InspectedBlob = { digest: string; size: number; mediaType?: string };
type InspectedManifest = {
  mediaType?: string;
  config?: InspectedBlob;
  layers?: InspectedBlob[];
  manifests?: (InspectedBlob & { platform?: { os?: string; architecture?: string } })[];
};
type InspectedConfig = {
  os?: string;
  architecture?: string;
  created?: string;
  config?: { ExposedPorts?: object; Entrypoint?: string[]; Cmd?: string[]; Env?: string[] };
};

/** Faults: ENTITY_NOT_FOUND, and those of the registry. */
export async function inspectImage(v2: V2, repository: string, reference: string): Promise<InspectedImage> {
  const { content, digest = reference } = await v2.get<InspectedManifest>(`/${repository}/manifests/${reference}`, MANIFEST_TYPES);
  if (!digest.startsWith("sha256:")) throw new Fault("REGISTRY_FAILED", `The registry does not say which digest ${repository}:${reference} has.`);
  const layers = (content.layers ?? []).map((layer) => ({ digest: layer.digest, bytes: layer.size }));
  const mediaType = content.mediaType ?? "";
  const nothing = { created: null, ports: [], command: [], variables: [] };
  if (content.manifests) {
    const platforms = content.manifests.map(({ platform }) => platformOf(platform ?? {})).filter((one) => one !== "");
    return { digest, mediaType, bytes: sizeOf(content.manifests), platforms, layers, ...nothing };
  }
  const bytes = sizeOf(content.layers ?? []) + (content.config?.size ?? 0);
  // Of something that is no image, the configuration is of another kind, or missing.
  const config =
    content.config && (await v2.get<InspectedConfig | undefined>(`/${repository}/blobs/${content.config.digest}`).catch(() => undefined))?.content;
  if (!config) return { digest, mediaType, bytes, platforms: [], layers, ...nothing };
  const { ExposedPorts = {}, Entrypoint, Cmd, Env } = config.config ?? {};
  return {
    digest,
    mediaType,
    bytes,
    platforms: [platformOf(config)].filter((one) => one !== ""),
    layers,
    created: config.created ?? null,
    ports: Object.keys(ExposedPorts ?? {}),
    command: [...(Entrypoint ?? []), ...(Cmd ?? [])],
    variables: (Env ?? []).map((pair) => pair.split("=", 1)[0] ?? ""),
  };
}

function platformOf({ os, architecture }: { os?: string; architecture?: string }): string {
  return os === undefined || architecture === undefined ? "" : `${os}/${architecture}`;
}

function sizeOf(described: readonly InspectedBlob[]): number {
  return described.reduce((sum, { size }) => sum + size, 0);
}

/** `reference` is a tag or a digest, where one is named. */
type ImageArgument = { repository: string; reference: string | undefined };

/** `datagrok/x`, `datagrok/x:tag` or `datagrok/x@sha256:…`. Faults: SETTINGS_INVALID. */
export function parseImageArgument(word: string): ImageArgument {
  const [, repository = "", tag, digest] = /^(.+?)(?::([\w.-]{1,128})|@(sha256:[0-9a-f]{64}))?$/.exec(word) ?? [];
  if (isRepository(repository)) return { repository, reference: tag ?? digest };
  throw new Fault("SETTINGS_INVALID", `${JSON.stringify(word)} names no image; one is called such as datagrok/demo-square:1.0.0.`);
}
