import type { Definition } from "../../control/packages/publish/definitions.ts";
import { imageName, imageRepository, isOfRepository } from "../../control/model/names.ts";
import { Fault } from "../../lib/fault.ts";
import { isOnThisMachine } from "../registry/open-v2.ts";
import type { ServerClient } from "../server/server-client.ts";
import type { ProgressLine } from "../terminal/screen.ts";
import type { DockerCommand } from "./open-docker.ts";

/** The image of one folder, and the content of its `image.json`. */
export type PreparedImage = {
  folder: string;
  image: string;
  how: "built" | "unchanged";
  imageJson: { image: string; fallback: boolean; hashMatch?: boolean };
};

/** Servers are amd64. Only this machine's own engine may differ. */
const PLATFORM = "linux/amd64";

type LatestCompatible = { image: string; hashMatch: boolean };

/**
 * Prepares the image of a folder. An image of the same content is used as it is, unless `rebuild` is set. Otherwise it is built, and pushed if there is a
 * registry. Faults: those of docker and of the server.
 */
export async function prepareImage(
  definition: Definition,
  deps: {
    packageName: string;
    /** The version of the package; for a debug publish the developer's login. */
    version: string;
    rebuild: boolean;
    registry: string | undefined;
    server: Pick<ServerClient, "call">;
    /** Called only if an image must be built. */
    docker: () => Promise<DockerCommand>;
    progress: ProgressLine;
  },
): Promise<PreparedImage> {
  const { folder, hash, at, ref } = definition;
  const { server, registry, progress } = deps;
  const name = imageName(deps.packageName, folder);
  progress.update(`looking for a published ${name}`);
  const same = deps.rebuild ? undefined : await findCompatible(server, name, deps.version, hash);
  if (same && !isOfRepository(same.image, imageRepository(name)))
    throw new Fault(
      "IMAGE_NOT_FOUND",
      `The server offers ${JSON.stringify(same.image).slice(0, 200)} in place of an image of ${imageRepository(name)}: it is not used. ` +
        "Build the image with --rebuild, and report it to an administrator.",
    );
  if (same?.hashMatch)
    return { folder, image: same.image, how: "unchanged", imageJson: { image: same.image, fallback: same.image !== ref, hashMatch: true } };
  const docker = await deps.docker();
  const platform = registry === undefined || isOnThisMachine(registry) ? undefined : PLATFORM;
  // Not under its final name: an engine beside the server would prefer it to the registry's image.
  const built = ref.slice(ref.indexOf("/") + 1);
  let part = 0;
  progress.update(`building ${built}`, part);
  await docker.build(at, built, platform, (line) => progress.update(`building ${built}`, (part = buildProgress(line) ?? part)));
  const target = registry === undefined ? ref : `${registry}/${ref}`;
  await docker.tag(built, target);
  if (registry !== undefined) {
    const pushed = createPushProgress();
    part = 0;
    progress.update(`pushing ${target}`, part);
    await docker.push(target, (line) => progress.update(`pushing ${target}`, (part = pushed(line) ?? part)));
  }
  return { folder, image: ref, how: "built", imageJson: { image: ref, fallback: false } };
}

/** A server without one answers 404. */
async function findCompatible(
  server: Pick<ServerClient, "call">,
  name: string,
  version: string,
  hash: string,
): Promise<LatestCompatible | undefined> {
  const query = new URLSearchParams({ version, contentHash: hash });
  try {
    return await server.call<LatestCompatible>("GET", `/docker/images/${encodeURIComponent(name)}/latest-compatible?${query.toString()}`);
  } catch (error) {
    if (error instanceof Fault && error.status === 404) return undefined;
    throw error;
  }
}

/** The progress from 0 to 1 in a line of `docker build`: `Step 2/5 : …` of the old builder, `#7 [2/5] …` of BuildKit. */
function buildProgress(line: string): number | undefined {
  const [, at, all] = /^(?:Step |#\d+ \[(?:\S+ )?)\s*(\d+)\/(\d+)/.exec(line) ?? [];
  return at === undefined ? undefined : (Number(at) - 1) / Number(all);
}

const DONE = /^(Pushed|Layer already exists|Mounted from)/;

/** The progress of `docker push`: pushed layers out of those in its output. */
function createPushProgress(): (line: string) => number | undefined {
  const layers = new Map<string, boolean>();
  return (line) => {
    const [, layer, state = ""] = /^([0-9a-f]{12}): (.*)$/.exec(line) ?? [];
    if (layer === undefined) return undefined;
    layers.set(layer, DONE.test(state));
    return [...layers.values()].filter(Boolean).length / layers.size;
  };
}
