import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type Docker from "dockerode";
import { buildImage } from "../conf/binary/fixtures/debian-image.ts";
import { buildBase, buildOnce, sharedLibraries } from "../fixtures/images.ts";
import { chooseStandIn, commandLine, type StandInConfig, type StandIn } from "./choose-stand-in.ts";
import { metadataDockerfile } from "./metadata-dockerfile.ts";

const PROGRAMS = join(import.meta.dirname, "stand-in");

/** Started instead of the originals of these names. */
const SERVERS = ["python", "python3", "gunicorn", "uvicorn", "hypercorn", "flask", "celery"];
const CHECKS = ["wget", "curl"];
/** `micromamba run -n NAME PROGRAM …` starts the program. */
const RUNNERS = ["micromamba", "mamba", "conda"];
const SHELL_PROGRAMS = ["sh", "sleep", "mkdir", "chown", "chmod"];
/** What a real PostgreSQL needs beside its own programs, where this machine has one. */
const POSTGRES_PROGRAMS = ["setpriv"];

const NODE = "/usr/local/bin/node";
const LAUNCH = `#!/bin/sh\nexec ${NODE} /stand-in/serve.cjs "\${0##*/}" "$@"\n`;
const LAUNCHERS: Readonly<Record<string, string>> = {
  ...Object.fromEntries(SERVERS.map((name) => [name, LAUNCH])),
  ...Object.fromEntries(CHECKS.map((name) => [name, LAUNCH.replace("serve", "check")])),
  ...Object.fromEntries(
    RUNNERS.map((name) => [name, '#!/bin/sh\n[ "$1" = run ] && shift\ncase "$1" in -n | -p | --name | --prefix) shift 2 ;; esac\nexec "$@"\n']),
  ),
  node: `#!/bin/sh\ncase "$1" in -e | --eval | -p) exec ${NODE} "$@" ;; esac\nexec ${NODE} /stand-in/serve.cjs node "$@"\n`,
  "docker-entrypoint.sh": `#!/bin/sh\ncase "$1" in postgres) [ -d /usr/lib/postgresql ] && exec sh /stand-in/postgres-entrypoint.sh || exec ${NODE} /stand-in/serve.cjs "$@" ;; esac\nexec "$@"\n`,
};

/** The folders of the newest PostgreSQL on this machine. */
const postgresFolders = () => {
  const bin = globSync("/usr/lib/postgresql/*/bin/postgres").toSorted().at(-1);
  const version = bin?.split("/").at(-3);
  return version === undefined ? undefined : [`/usr/lib/postgresql/${version}`, `/usr/share/postgresql/${version}`];
};

/** Builds what all stand-ins are built from: Node, a shell, the stand-in programs, and PostgreSQL where this machine has it. */
export async function buildStandInBase(docker: Docker): Promise<string> {
  const node = await buildBase(docker);
  const postgres = postgresFolders();
  const programs = [...SHELL_PROGRAMS, ...(postgres ? POSTGRES_PROGRAMS : [])].map((name) => `/usr/bin/${name}`);
  const scripts = globSync("*", { cwd: PROGRAMS }).toSorted();
  const dockerfile = `FROM ${node}\nCOPY root /\nENV PATH=/stand-in/bin:/usr/local/bin:/usr/bin:/bin\n`;
  const contents = [
    dockerfile,
    JSON.stringify(LAUNCHERS),
    JSON.stringify(postgres ?? []),
    ...programs.map((file) => `${file} ${statSync(file).size}`),
    ...scripts.map((name) => readFileSync(join(PROGRAMS, name))),
  ];
  return buildOnce(docker, "berth-test/stand-in", contents, (folder) => {
    const root = join(folder, "root");
    const put = (from: string, to = from) => {
      mkdirSync(dirname(join(root, to)), { recursive: true });
      cpSync(from, join(root, to), { recursive: true, dereference: true });
    };
    const write = (path: string, text: string) => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text, { mode: 0o755 });
    };
    mkdirSync(join(root, "usr/bin"), { recursive: true });
    mkdirSync(join(root, "tmp"), { mode: 0o777 });
    symlinkSync("usr/bin", join(root, "bin"));
    symlinkSync("sh", join(root, "usr/bin/bash"));
    const plugins = postgres ? globSync(`${postgres[0]}/lib/{plpgsql,dict_snowball,utf8_and_*}.so`) : [];
    const binaries = [...programs, ...(postgres ? globSync(`${postgres[0]}/bin/{postgres,initdb,psql,pg_isready}`) : [])];
    for (const file of binaries) put(realpathSync(file), file);
    for (const file of plugins) put(file);
    if (postgres) put(postgres[1] as string);
    for (const library of new Set([...binaries, ...plugins].flatMap(sharedLibraries))) put(realpathSync(library), library);
    for (const [name, text] of Object.entries(LAUNCHERS)) write(`stand-in/bin/${name}`, text);
    if (postgres) symlinkSync(`${postgres[0]}/bin/pg_isready`, join(root, "stand-in/bin/pg_isready"));
    else write("stand-in/bin/pg_isready", LAUNCH.replace("serve", "check"));
    for (const name of scripts) put(join(PROGRAMS, name), `stand-in/${name}`);
    writeFileSync(join(folder, "Dockerfile"), dockerfile);
  });
}

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
