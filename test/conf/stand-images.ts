import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type Docker from "dockerode";
import { buildImage, debianImage, distributionImage } from "../binary/fixtures/debian-image.ts";
import { layOutFolder } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

const SOURCE = join(import.meta.dirname, "../..");

/** A plugin's image: the tests' square, which listens on port 5000. */
export const PLUGIN = "berth-test/plugin:1";

/** Builds the images of conf/docker/Dockerfile on an engine that has none, under the names that conf/compose and conf/swarm have for them, and a plugin's. */
export async function standImages(t: { teardown(act: () => void): unknown }, docker: Docker): Promise<void> {
  const folder = tempFolder(t);
  const dockerfile = readFileSync(join(SOURCE, "conf/docker/Dockerfile"), "utf8");
  writeFileSync(join(folder, "Dockerfile"), dockerfile);
  await Promise.all([
    promisify(execFile)(process.execPath, [join(SOURCE, "binary/build.ts"), join(folder, "dist/berth")]),
    debianImage(docker, "debian"),
    distributionImage(docker, "distribution"),
  ]);
  await buildImage(docker, folder, { t: "berth", target: "berth", buildargs: { BASE: "debian" } });
  // The rest of the Dockerfile, from the image that its first part has become: built whole once more, it costs 7 s.
  const rest = tempFolder(t);
  writeFileSync(join(rest, "Dockerfile"), `ARG DISTRIBUTION\n${dockerfile.slice(dockerfile.indexOf("FROM ${DISTRIBUTION}"))}`);
  await buildImage(docker, rest, { t: "berth:grok_registry", buildargs: { DISTRIBUTION: "distribution" } });
  // A plugin's image, from what is there, with the lowest of its ports: the executable runs JavaScript as Node does.
  const plugin = layOutFolder(join(folder, "plugin"), "onDemand");
  writeFileSync(
    join(plugin, "Dockerfile"),
    'FROM berth\nCOPY . /app\nENV DEFAULT_PORT=5000\nHEALTHCHECK NONE\nENTRYPOINT ["berth", "node"]\nCMD ["/app/app.js"]\n',
  );
  await buildImage(docker, plugin, { t: PLUGIN });
}
