import { cpSync, globSync, mkdirSync, readFileSync, realpathSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type Docker from "dockerode";
import { buildBase, buildOnce, sharedLibraries } from "../fixtures/images.ts";
import { buildPostgresImage, POSTGRES_PROGRAMS } from "../fixtures/postgres-image.ts";

const SOURCES = join(import.meta.dirname, "stand-in");
const NODE = "/usr/local/bin/node";

/** Runs the stand-in under the name by which it was started. */
export const LAUNCH = `#!/bin/sh\nexec ${NODE} /stand-in/serve.cjs "\${0##*/}" "$@"\n`;
const CHECK = `#!/bin/sh\nexec ${NODE} /stand-in/check.cjs "$@"\n`;
const RUN = '#!/bin/sh\n[ "$1" = run ] && shift\ncase "$1" in -n | -p | --name | --prefix) shift 2 ;; esac\nexec "$@"\n';

/** By the names of the originals. */
export const LAUNCHERS: Readonly<Record<string, string>> = {
  ...Object.fromEntries(["python", "python3", "gunicorn", "uvicorn", "hypercorn", "flask", "celery"].map((name) => [name, LAUNCH])),
  ...Object.fromEntries(["wget", "curl"].map((name) => [name, CHECK])),
  ...Object.fromEntries(["micromamba", "mamba", "conda"].map((name) => [name, RUN])),
  node: `#!/bin/sh\ncase "$1" in -e | --eval | -p) exec ${NODE} "$@" ;; esac\nexec ${NODE} /stand-in/serve.cjs node "$@"\n`,
  "docker-entrypoint.sh": '#!/bin/sh\n[ "$1" = postgres ] && exec sh /stand-in/postgres-entrypoint.sh\nexec "$@"\n',
};

/** For the entry point of PostgreSQL. */
const BINARIES = [
  ...["sleep", "mkdir", "chown", "chmod", "setpriv"].map((name) => `/usr/bin/${name}`),
  ...["psql", "pg_isready"].map((name) => join(POSTGRES_PROGRAMS, name)),
];

/** Builds what all stand-ins are built from: Node, PostgreSQL, a shell, and the stand-in programs under the names of the originals. */
export async function buildStandInBase(docker: Docker): Promise<string> {
  const [node, postgres] = [await buildBase(docker), await buildPostgresImage(docker)];
  const scripts = globSync("*", { cwd: SOURCES }).toSorted();
  const dockerfile = `FROM ${node}\nCOPY --from=${postgres} / /\nCOPY root /\nENV PATH=/stand-in/bin:/usr/local/bin:/usr/bin:/bin:${POSTGRES_PROGRAMS}\n`;
  const contents = [
    dockerfile,
    JSON.stringify(LAUNCHERS),
    ...BINARIES.map((file) => `${file} ${statSync(file).size}`),
    ...scripts.map((name) => readFileSync(join(SOURCES, name))),
  ];
  return buildOnce(docker, "berth-test/stand-in", contents, (folder) => {
    const root = join(folder, "root");
    const put = (from: string, to: string) => {
      mkdirSync(dirname(join(root, to)), { recursive: true });
      cpSync(from, join(root, to));
    };
    for (const file of [...BINARIES, ...BINARIES.flatMap(sharedLibraries)]) put(realpathSync(file), file);
    for (const name of scripts) put(join(SOURCES, name), `stand-in/${name}`);
    mkdirSync(join(root, "stand-in/bin"));
    for (const [name, text] of Object.entries(LAUNCHERS)) writeFileSync(join(root, "stand-in/bin", name), text, { mode: 0o755 });
    mkdirSync(join(root, "bin"));
    symlinkSync("sh", join(root, "bin/bash"));
    writeFileSync(join(folder, "Dockerfile"), dockerfile);
  });
}
