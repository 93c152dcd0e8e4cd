import { createReadStream } from "node:fs";
import { Transform } from "node:stream";
import { DOCKERFILES } from "../../control/packages/publish/folders.ts";
import type { Server } from "../server/server-client.ts";
import type { Progress } from "../terminal/progress.ts";
import type { Brought } from "./bring-image.ts";
import { zipPackage } from "./zip-package.ts";

/** Zips a package with what became of its images, and sends it. Returns what the server says. */
export async function uploadPackage<T>(parts: {
  folder: string;
  name: string;
  images: readonly Brought[];
  release: boolean;
  suffix: string | undefined;
  server: Pick<Server, "upload">;
  /** The file, which is not there yet. */
  zip: string;
  progress: Progress;
  signal: AbortSignal;
}): Promise<T> {
  const { folder, name, images, release, suffix, server, zip, progress, signal } = parts;
  progress.says("zipping");
  const made = images.map(({ folder, imageJson }) => [jsonPath(folder), `${JSON.stringify(imageJson, undefined, 2)}\n`] as const);
  const length = await zipPackage(folder, new Map(made), zip, signal);
  const query = new URLSearchParams({ debug: String(!release), rebuild: "false", dropDb: "false", ...(suffix === undefined ? {} : { suffix }) });
  const bytes = counted(zip, (sent) =>
    progress.says(sent < length ? "uploading" : "waiting until it is stored", sent < length ? sent / length : undefined),
  );
  return server.upload<T>(`/packages/dev/${name}?${query.toString()}`, { bytes, length, signal });
}

function jsonPath(folder: string): string {
  return [DOCKERFILES, folder, "image.json"].filter((part) => part !== "").join("/");
}

function counted(file: string, tell: (sent: number) => void): Transform {
  let sent = 0;
  const count = new Transform({
    transform: (piece: Buffer, _encoding, done) => {
      tell((sent += piece.length));
      done(null, piece);
    },
  });
  const read = createReadStream(file).once("error", (error) => count.destroy(error));
  return read.pipe(count);
}
