import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type Docker from "dockerode";
import { buildImage } from "../conf/binary/fixtures/debian-image.ts";
import { chooseStandIn, commandLine, type StandInConfig, type StandIn } from "./choose-stand-in.ts";
import { metadataDockerfile } from "./metadata-dockerfile.ts";
import { LAUNCH, LAUNCHERS } from "./stand-in-base.ts";

export type FolderImage = {
  ref: string;
  standIn: StandIn;
  /** What stands in for the original, in a few words; "nothing" if the engine had its base images. */
  replaced: string;
  config: StandInConfig;
};

/**
 * Builds the image of one folder under `ref`. If the engine has all base images, that is the author's own; else the Dockerfile's configuration upon
 * the stand-in programs.
 */
export async function buildFolderImage(
  docker: Docker,
  { ref, base, folder, dockerfile, sources }: { ref: string; base: string; folder: string; dockerfile: string; sources: ReadonlyMap<string, string> },
): Promise<FolderImage> {
  const metadata = metadataDockerfile(dockerfile, base);
  const has = (image: string) => docker.getImage(image).inspect().then(() => true, () => image === "scratch"); // prettier-ignore
  const isOriginal = (await Promise.all(metadata.bases.map(has))).every(Boolean);
  const context = mkdtempSync(join(tmpdir(), "berth-folder-"));
  const configured = isOriginal ? ref : `${ref}-configuration`;
  try {
    cpSync(folder, context, { recursive: true });
    if (!isOriginal) writeFileSync(join(context, "Dockerfile"), metadata.text);
    await buildImage(docker, context, { t: configured });
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
  const config = (await docker.getImage(configured).inspect()).Config as StandInConfig;
  const standIn = chooseStandIn(config, metadata.base, sources);
  if (isOriginal) return { ref, standIn, replaced: "nothing", config };
  await buildImageUpon(docker, configured, ref, standIn, config);
  await docker.getImage(configured).remove({ noprune: true });
  const { run, copy } = metadata.omitted;
  return { ref, standIn, replaced: `${[...new Set(metadata.bases)].join(", ")}; ${run} RUN, ${copy} COPY`, config };
}

/** Adds what the stand-in programs read, the user that the original's RUN steps would have made, and a program of the command's name. */
async function buildImageUpon(docker: Docker, from: string, ref: string, standIn: StandIn, config: StandInConfig): Promise<void> {
  const layer = mkdtempSync(join(tmpdir(), "berth-stand-in-"));
  try {
    const write = (path: string, text: string) => {
      mkdirSync(dirname(join(layer, "root", path)), { recursive: true });
      writeFileSync(join(layer, "root", path), text, { mode: 0o755 });
    };
    const [user = "", group = user] = (config.User ?? "").split(":");
    const isNamed = (name: string) => name !== "" && name !== "root" && !/^\d+$/.test(name);
    write("etc/passwd", `root:x:0:0::/:/bin/sh\npostgres:x:999:999::/:/bin/sh\n${isNamed(user) ? `${user}:x:1001:2001::/:/bin/sh\n` : ""}`);
    write("etc/group", `root:x:0:\npostgres:x:999:\n${isNamed(group) ? `${group}:x:2001:\n` : ""}`);
    write("stand-in/stand-in.json", JSON.stringify(standIn));
    const [program = ""] = commandLine(config).split(" ");
    if (program.includes("/")) write(program.startsWith("/") ? program : join(config.WorkingDir ?? "/", program), LAUNCH);
    else if (!(program in LAUNCHERS) && program !== "postgres") write(`stand-in/bin/${program}`, LAUNCH);
    writeFileSync(join(layer, "Dockerfile"), `FROM ${from}\nCOPY root /\n`);
    await buildImage(docker, layer, { t: ref });
  } finally {
    rmSync(layer, { recursive: true, force: true });
  }
}
