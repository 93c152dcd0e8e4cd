import type { ImageInspectInfo } from "dockerode";
import type { ResolvedImage } from "../driver.ts";
import type { Engine } from "./engine.ts";
import { exposedPorts } from "../image.ts";
import { answered } from "./faults.ts";

/** The engine's own copy of an image, if it has one. */
export async function localImage(engine: Engine, ref: string, signal: AbortSignal): Promise<ImageInspectInfo | undefined> {
  try {
    return await engine.call({ doing: `Looking for ${ref}`, signal }, (docker) => docker.getImage(ref).inspect());
  } catch (error) {
    if (answered(error, 404)) return undefined;
    throw error;
  }
}

/** `asked` is the digest that it was asked for by. */
export async function described(engine: Engine, image: ImageInspectInfo, signal: AbortSignal, asked?: string): Promise<ResolvedImage> {
  const configured = Object.keys(image.Config?.ExposedPorts ?? {});
  // One image may be known by several digests; the one that was asked for, where it has it.
  const digests = (image.RepoDigests ?? []).map((known) => known.split("@")[1]);
  const digest = digests.find((known) => known === asked) ?? digests[0];
  return {
    id: image.Id,
    ...(digest === undefined ? {} : { digest }),
    ...exposedPorts(configured, configured.length > 1 ? await history(engine, image.Id, signal) : []),
  };
}

/** The commands that made the image's layers, oldest first. */
async function history(engine: Engine, id: string, signal: AbortSignal): Promise<string[]> {
  const layers = await engine.call({ doing: `Reading the history of ${id}`, signal }, (docker) => docker.getImage(id).history());
  return (layers as { CreatedBy?: string }[]).map(({ CreatedBy }) => CreatedBy ?? "").toReversed();
}
