import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CreateRepositoryCommand, PutImageCommand, type ECRClient } from "@aws-sdk/client-ecr";
import type { ImageHealthcheck } from "../../../drivers/driver.ts";
import { parseDockerfile } from "../../../drivers/process/resolve.ts";
import { layOutFolder, type TestImage } from "../../fixtures/images.ts";
import { LOGIN } from "../../gateway/registry/upstream/distribution.ts";

const MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG = "application/vnd.docker.container.image.v1+json";

export type PublishedTestImage = { name: TestImage; repository: string; tag: string; digest: string; folder: string; architecture: string };

/** Publishes the app of a test image as its package would: its manifest and configuration at a real registry, its name in moto's ECR. */
export async function publish(
  name: TestImage,
  to: { folder: string; registry: string; ecr: ECRClient; architecture: string },
): Promise<PublishedTestImage> {
  const folder = layOutFolder(join(to.folder, name), name);
  const exposes = readFileSync(join(folder, "Dockerfile"), "utf8")
    .split("\n")
    .filter((line) => line.startsWith("EXPOSE"));
  const ports = exposes.flatMap((line) => line.split(" ").slice(1)).map((port) => (port.includes("/") ? port : `${port}/tcp`));
  const recipe = parseDockerfile(readFileSync(join(folder, "Dockerfile"), "utf8"));
  const config = {
    architecture: to.architecture,
    os: "linux",
    rootfs: { type: "layers", diff_ids: [] },
    config: {
      ExposedPorts: Object.fromEntries(ports.map((port) => [port, {}])),
      Cmd: recipe.command,
      ...(recipe.healthcheck ? { Healthcheck: healthcheckConfig(recipe.healthcheck) } : {}),
    },
    history: exposes.map((line) => ({ created_by: `/bin/sh -c #(nop)  ${line}` })),
  };
  const [repository, tag] = [`berth-test/${name.toLowerCase()}`, "1"];
  const blob = JSON.stringify(config);
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: { mediaType: CONFIG, size: Buffer.byteLength(blob), digest: digestOf(blob) },
    layers: [],
  });
  const root = `http://${to.registry}/v2/${repository}`;
  const authorization = `Basic ${Buffer.from(`${LOGIN.username}:${LOGIN.password}`).toString("base64")}`;
  const begun = await fetch(`${root}/blobs/uploads/`, { method: "POST", headers: { authorization } });
  const upload = new URL(begun.headers.get("location") ?? "", root);
  upload.searchParams.set("digest", digestOf(blob));
  const put = await fetch(upload, { method: "PUT", body: blob, headers: { authorization, "content-type": "application/octet-stream" } });
  const done = await fetch(`${root}/manifests/${tag}`, { method: "PUT", body: manifest, headers: { authorization, "content-type": MANIFEST } });
  if (!put.ok || !done.ok) throw new Error(`The registry took no ${repository}: ${put.status}, ${done.status}.`);
  await to.ecr.send(new CreateRepositoryCommand({ repositoryName: repository, tags: [{ Key: "builder", Value: "grok_spawner" }] }));
  await to.ecr.send(new PutImageCommand({ repositoryName: repository, imageManifest: manifest, imageTag: tag }));
  return { name, repository, tag, digest: digestOf(manifest), folder, architecture: to.architecture };
}

/** As engines write it: in nanoseconds. */
function healthcheckConfig({ test, intervalMs = 0, timeoutMs = 0, retries }: ImageHealthcheck) {
  return { Test: test, Interval: intervalMs * 1e6, Timeout: timeoutMs * 1e6, Retries: retries };
}

function digestOf(text: string): string {
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}
