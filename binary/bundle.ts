import { build, type Plugin } from "esbuild";
import { join } from "node:path";

/** better-sqlite3 looks for its addon in its own folder, which is not there any more. */
const SQLITE_ADDON: Plugin = {
  name: "sqlite-addon",
  setup: (build) => {
    build.onResolve({ filter: /^\.\/binding$/ }, ({ importer }) =>
      importer.includes("/better-sqlite3/") ? { path: join(import.meta.dirname, "sqlite-addon.ts") } : undefined,
    );
    // ssh2 does without its own, for engines over SSH, which berth has not.
    build.onResolve({ filter: /\.node$|^cpu-features$/ }, ({ path }) => ({ path, external: true }));
  },
};

/** What packages written as CommonJS expect to find. */
const COMMONJS = `import { createRequire as berthRequire } from "node:module";
const require = berthRequire(import.meta.url), __filename = import.meta.filename, __dirname = import.meta.dirname;`;

/**
 * All of berth as one file, what is loaded where used included: that is run when it is asked for. Nothing in it tells where or when it was made.
 */
export async function bundle(root: string): Promise<Uint8Array> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: ["berth.ts"],
    bundle: true,
    write: false,
    outfile: "berth.mjs",
    platform: "node",
    target: "node26",
    format: "esm",
    banner: { js: COMMONJS },
    legalComments: "inline",
    // Names stay as they are: they are in stack traces, and some packages look at them.
    minifySyntax: true,
    minifyWhitespace: true,
    plugins: [SQLITE_ADDON],
    logLevel: "warning",
  });
  return (outputFiles[0] as { contents: Uint8Array }).contents;
}
