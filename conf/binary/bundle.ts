import { build, type Plugin } from "esbuild";
import { globSync, readdirSync, readFileSync } from "node:fs";
import { ECHO_FILE } from "../../cli/doctor/container.ts";
import { ADDON_FILE } from "./sqlite-addon.ts";
import { join, relative } from "node:path";

/** better-sqlite3 loads its addon from its own folder, which the executable does not have. */
const SQLITE_ADDON: Plugin = {
  name: "sqlite-addon",
  setup: (build) => {
    build.onResolve({ filter: /^\.\/binding$/ }, ({ importer }) =>
      importer.includes("/better-sqlite3/") ? { path: join(import.meta.dirname, "sqlite-addon.ts") } : undefined,
    );
    // ssh2 works without its addon; berth uses no engine over SSH.
    build.onResolve({ filter: /\.node$|^cpu-features$/ }, ({ path }) => ({ path, external: true }));
  },
};

/** They handle both a source tree and an executable. */
const OWN_PLACE = ["berth.ts", "lib/own-files.ts", "processes/distribution/distribution-program.ts"];

/** In the executable, a file that uses its own path fails only when it runs: refuse it at the build. */
const NO_OWN_PLACE = (root: string): Plugin => ({
  name: "no-own-place",
  setup: (build) => {
    build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const file = relative(root, path);
      if (OWN_PLACE.includes(file) || !/import\.meta\.(dirname|filename|url)/.test(readFileSync(path, "utf8"))) return undefined;
      return {
        errors: [
          {
            text: `${file} uses its own path, which the single executable does not have: call ownFile, and list its files in conf/binary/bundle.ts.`,
          },
        ],
      };
    });
  },
});

/**
 * All of berth as one file, lazily loaded modules included. Its content does not depend on the time or place of the build.
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
    // An ES module that imports node:http gets all of its exports, which loads `fetch` and WebSocket: 20 ms in each process.
    format: "cjs",
    logOverride: { "empty-import-meta": "silent" },
    legalComments: "inline",
    // Names stay: stack traces show them, and some packages read them.
    minifySyntax: true,
    minifyWhitespace: true,
    plugins: [SQLITE_ADDON, NO_OWN_PLACE(root)],
    logLevel: "warning",
  });
  return ascii((outputFiles[0] as { text: string }).text);
}

/** esbuild writes code as ASCII, but not the comments with licences. One other letter makes V8 keep two bytes per letter, in every process. */
function ascii(text: string): Uint8Array {
  return Buffer.from(
    text.replaceAll(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`),
    "latin1",
  );
}

/**
 * The files that the single executable carries, by the path that `ownFile` and `ownText` take. `page` is the folder of the built console.
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
