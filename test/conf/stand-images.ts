import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type Docker from "dockerode";
import { buildBerthImages } from "./binary/fixtures/berth-images.ts";
import { buildImage } from "./binary/fixtures/debian-image.ts";
import { layOutFolder } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** A plugin's image: the tests' square, which listens on port 5000. */
export const PLUGIN = "berth-test/plugin:1";

/** Builds berth's images on an engine that has none, under the names that conf/compose and conf/swarm have for them, and a plugin's. */
export async function standImages(t: { teardown(act: () => void): unknown }, docker: Docker): Promise<void> {
  await buildBerthImages(docker, (target) => (target === "berth" ? "berth" : `berth:${target}`), ["grok_registry"]);
  // A plugin's image, from what is there, with the lowest of its ports: the executable runs JavaScript as Node does.
  const plugin = layOutFolder(join(tempFolder(t), "plugin"), "onDemand");
  writeFileSync(
    join(plugin, "Dockerfile"),
    'FROM berth\nCOPY . /app\nENV DEFAULT_PORT=5000\nHEALTHCHECK NONE\nENTRYPOINT ["berth", "node"]\nCMD ["/app/app.js"]\n',
  );
  await buildImage(docker, plugin, { t: PLUGIN });
}
