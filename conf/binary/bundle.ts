import { build, type Plugin } from "esbuild";
import { globSync, readdirSync, readFileSync } from "node:fs";
import { ECHO_FILE } from "../../cli/doctor/container.ts";
import { ADDON_FILE } from "./sqlite-addon.ts";
import { join, relative } from "node:path";

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

/** They ask whether there is a source tree first. */
const OWN_PLACE = ["berth.ts", "lib/own-files.ts", "processes/distribution/distribution-program.ts"];

/** A file that looks beside itself finds nothing there, and would be noticed by whoever needs it first. */
const NO_OWN_PLACE = (root: string): Plugin => ({
  name: "no-own-place",
  setup: (build) => {
    build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const file = relative(root, path);
      if (OWN_PLACE.includes(file) || !/import\.meta\.(dirname|filename|url)/.test(readFileSync(path, "utf8"))) return undefined;
      return {
        errors: [
          {
            text: `${file} asks where it lies, which is nowhere in the single executable: ask ownFile, and list its files in conf/binary/bundle.ts.`,
          },
        ],
      };
    });
  },
});

/**
 * All of berth as one file, what is loaded where used included: that is run when it is asked for. Nothing in it tells where or when it was made.
 */
export async function bundle(root: string): Promise<Uint8Array> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: ["berth.ts"],
    bundle: true,
    write: false,
    outfile: "berth.cjs",
    platform: "node",
    target: "node26",
    // A module that imports node:http is given each export of it, which loads all of `fetch` and WebSocket: 20 ms in each process.
    format: "cjs",
    // They ask whether there is a source tree first, and go on where it is none.
    logOverride: { "empty-import-meta": "silent" },
    legalComments: "inline",
    // Names stay as they are: they are in stack traces, and some packages look at them.
    minifySyntax: true,
    minifyWhitespace: true,
    plugins: [SQLITE_ADDON, NO_OWN_PLACE(root)],
    logLevel: "warning",
  });
  return ascii((outputFiles[0] as { text: string }).text);
}

/** Of code esbuild leaves ASCII alone, of licences' comments not: and of a text with one other letter in it V8 makes two bytes for each, in every process. */
function ascii(text: string): Uint8Array {
  return Buffer.from(
    text.replaceAll(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`),
    "latin1",
  );
}

/**
 * What the single executable carries beside its code: each file by the path under which `ownFile` or `ownText` is asked for it. `page` is the
 * console, built.
 */
export function assets(root: string, page: string): Record<string, string> {
  const files = [...globSync("conf/demo/**/*", { cwd: root, withFileTypes: true })].filter((one) => one.isFile());
  const demo = files.map(({ parentPath, name }) => join(parentPath, name)).toSorted();
  return {
    ...Object.fromEntries(demo.map((path) => [path.slice(root.length + 1), path])),
    [ECHO_FILE]: join(root, ECHO_FILE),
    ...Object.fromEntries(
      readdirSync(page)
        .toSorted()
        .map((name) => [`control/console/dist/${name}`, join(page, name)]),
    ),
    "lua-compat/requests.jsonl": join(root, "lua-compat/requests.jsonl"),
    ...Object.fromEntries(["gateway/waiting/page.css", "gateway/waiting/page.js"].map((path) => [path, join(root, path)])),
    // Of glibc's: what Node itself is linked with.
    [ADDON_FILE]: join(root, `node_modules/better-sqlite3/prebuilds/${process.platform}-${process.arch}.node`),
  };
}
