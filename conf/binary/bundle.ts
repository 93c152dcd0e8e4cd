import { build, type Plugin } from "esbuild";
import { globSync, readdirSync, readFileSync } from "node:fs";
import { ECHO_FILE } from "../../cli/doctor/container.ts";
import { addonFile } from "./sqlite-addon.ts";
import { dirname, join, relative } from "node:path";

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
 * In the npm package all files are one, too, but they have a place: what a source file calls its own path is its path below the root of the package.
 * `place` is the expression for that root.
 */
const FIXED_PLACE = (root: string, place: string): Plugin => ({
  name: "fixed-place",
  setup: (build) => {
    build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const file = relative(root, path);
      if (!OWN_PLACE.includes(file)) return undefined;
      const folder = `(${place} + ${JSON.stringify(`/${dirname(file)}`)})`;
      const contents = readFileSync(path, "utf8").replaceAll("import.meta.filename", "__filename").replaceAll("import.meta.dirname", folder);
      return { contents, loader: "ts" };
    });
  },
});

/** A release may have another version than package.json: that of a candidate. */
const OWN_VERSION = (root: string, version: string): Plugin => ({
  name: "own-version",
  setup: (build) => {
    build.onLoad({ filter: /\/package\.json$/ }, ({ path }) =>
      path === join(root, "package.json")
        ? { contents: JSON.stringify({ ...(JSON.parse(readFileSync(path, "utf8")) as object), version }), loader: "json" }
        : undefined,
    );
  },
});

/** What the bundle becomes a part of, and the version that it has there. The one for tests uses the files and packages of the source tree. */
export type BundleTarget = { for: "executable" | "npm package" | "tests"; version: string };

/**
 * All of berth as one file, lazily loaded modules included. Its content does not depend on the time or place of the build.
 */
export async function bundle(root: string, target: BundleTarget): Promise<Uint8Array> {
  const places = { executable: [], "npm package": [FIXED_PLACE(root, "__dirname")], tests: [FIXED_PLACE(root, JSON.stringify(root))] };
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
    logOverride: { "empty-import-meta": "silent", "suspicious-nullish-coalescing": "silent" },
    legalComments: "inline",
    // Names stay: stack traces show them, and some packages read them.
    minifySyntax: true,
    minifyWhitespace: true,
    external: target.for === "tests" ? ["better-sqlite3"] : [],
    plugins: [SQLITE_ADDON, NO_OWN_PLACE(root), ...places[target.for], OWN_VERSION(root, target.version)],
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
 * The files that the executable or the npm package brings, by the path that `ownFile` and `ownText` take. `page` is the folder of the built console.
 */
export function assets(root: string, page: string, architectures: readonly string[]): Record<string, string> {
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
    ...Object.fromEntries(architectures.map((one) => [addonFile(one), join(root, `node_modules/better-sqlite3/prebuilds/linux-${one}.node`)])),
  };
}
