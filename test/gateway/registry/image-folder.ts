import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import { tempFolder } from "../../fixtures/temp-folder.ts";

/** An image as a folder in skopeo's `dir:` form, with one layer of these bytes. */
export function imageFolder(t: Test, layer: Buffer): string {
  const folder = tempFolder(t);
  const put = (mediaType: string, blob: Buffer) => {
    const hex = createHash("sha256").update(blob).digest("hex");
    writeFileSync(join(folder, hex), blob);
    return { mediaType, size: blob.length, digest: `sha256:${hex}` };
  };
  const diff = `sha256:${createHash("sha256").update(layer).digest("hex")}`;
  const config = { architecture: "amd64", os: "linux", config: {}, rootfs: { type: "layers", diff_ids: [diff] } };
  const manifest = {
    schemaVersion: 2,
    mediaType: "application/vnd.docker.distribution.manifest.v2+json",
    config: put("application/vnd.docker.container.image.v1+json", Buffer.from(JSON.stringify(config))),
    layers: [put("application/vnd.docker.image.rootfs.diff.tar", layer)],
  };
  writeFileSync(join(folder, "manifest.json"), JSON.stringify(manifest));
  writeFileSync(join(folder, "version"), "Directory Transport Version: 1.1\n");
  return folder;
}
