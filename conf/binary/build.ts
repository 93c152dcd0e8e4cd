/** `npm run build:binary`: dist/berth, all of berth in one file that needs no Node. Node's documentation has it as "Single executable applications". */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { BUILD_FILE } from "../../lib/own-files.ts";
import about from "../../package.json" with { type: "json" };
import { assets, bundle } from "./bundle.ts";

const ROOT = join(import.meta.dirname, "../..");

/** The commit that is built, and the time of that commit. */
export type SourceCommit = { commit: string; built: string };

/** Writes the console, as browsers load it, into `folder`. */
export function buildPage(folder: string): void {
  const vite = ["build", "--config", "control/console/vite.config.ts", "--outDir", folder, "--logLevel", "warn"];
  execFileSync(join(ROOT, "node_modules/.bin/vite"), vite, { cwd: ROOT, stdio: ["ignore", "ignore", "inherit"] });
}

/** What `berth version` prints. No time of the build: the same commit gives the same file. */
export function describeBuild(code: Uint8Array, source: SourceCommit): Record<string, string> {
  return {
    ...source,
    bundle: createHash("sha256").update(code).digest("hex"),
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
  };
}

/** Writes the executable, and returns its description. `page` is the folder of the built console. */
export async function buildExecutable(options: {
  target: string;
  version: string;
  page: string;
  source: SourceCommit;
}): Promise<Record<string, string>> {
  const { target, version, page, source } = options;
  mkdirSync(dirname(target), { recursive: true });
  // Beside it: what is moved at the end stays on one file system.
  const work = mkdtempSync(join(dirname(target), ".build-"));
  try {
    const code = await bundle(ROOT, { for: "executable", version });
    writeFileSync(join(work, "berth.cjs"), code);
    const build = describeBuild(code, source);
    writeFileSync(join(work, BUILD_FILE), JSON.stringify(build));
    const config = {
      // Paths within the work folder: this one is written into the file.
      main: "berth.cjs",
      output: join(work, "berth"),
      disableExperimentalSEAWarning: true,
      // Compiled ahead: it halves the start of each process. The seed is for a cache that is the same each time; V8 takes it whatever its own seed is.
      useCodeCache: true,
      // As `./berth` starts it, which says why.
      execArgv: ["--disable-warning=ExperimentalWarning", "--v8-pool-size=1"],
      assets: { ...assets(ROOT, page, [process.arch]), [BUILD_FILE]: join(work, BUILD_FILE) },
    };
    writeFileSync(join(work, "sea.json"), JSON.stringify(config));
    execFileSync(process.execPath, ["--random-seed=1", "--build-sea", join(work, "sea.json")], { cwd: work, stdio: ["ignore", "ignore", "inherit"] });
    renameSync(config.output, target);
    return build;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** An archive of the source has no history. */
export function readSourceCommit(): SourceCommit {
  if (!existsSync(join(ROOT, ".git"))) return { commit: "unknown", built: "unknown" };
  const changed = git("status", "--porcelain", "--untracked-files=no") === "" ? "" : "+changes";
  return { commit: `${git("rev-parse", "--short=12", "HEAD")}${changed}`, built: git("show", "-s", "--format=%cI", "HEAD") };
}

function git(...args: string[]): string {
  return execFileSync("git", ["-C", ROOT, ...args], { encoding: "utf8" }).trim();
}

if (import.meta.main) {
  const page = mkdtempSync(join(tmpdir(), "berth-page-"));
  try {
    buildPage(page);
    const target = process.argv[2] ?? join(ROOT, "dist/berth");
    const build = await buildExecutable({ target, version: about.version, page, source: readSourceCommit() });
    console.log(`${target}: commit ${build["commit"]}, bundle ${build["bundle"]?.slice(0, 12)}`);
  } finally {
    rmSync(page, { recursive: true, force: true });
  }
}
