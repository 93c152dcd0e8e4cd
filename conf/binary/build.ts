/** `npm run build:binary`: dist/berth, all of berth in one file that needs no Node. Node's documentation has it as "Single executable applications". */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUILD_FILE } from "../../lib/own-files.ts";
import { assets, bundle } from "./bundle.ts";

const root = join(import.meta.dirname, "../..");
const target = process.argv[2] ?? join(root, "dist/berth");
const work = mkdtempSync(join(tmpdir(), "berth-build-"));
try {
  const code = await bundle(root);
  writeFileSync(join(work, "berth.cjs"), code);
  const page = join(work, "console");
  const vite = ["build", "--config", "control/console/vite.config.ts", "--outDir", page, "--logLevel", "warn"];
  execFileSync(join(root, "node_modules/.bin/vite"), vite, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  // No time of the build: the same commit gives the same file.
  const build = {
    ...commit(),
    bundle: createHash("sha256").update(code).digest("hex"),
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
  };
  writeFileSync(join(work, BUILD_FILE), JSON.stringify(build));
  const output = join(work, "berth");
  const config = {
    // Paths within the work folder: this one is written into the file.
    main: "berth.cjs",
    output,
    disableExperimentalSEAWarning: true,
    // Compiled ahead: it halves the start of each process. The seed is for a cache that is the same each time; V8 takes it whatever its own seed is.
    useCodeCache: true,
    // As `./berth` starts it, which says why.
    execArgv: ["--disable-warning=ExperimentalWarning", "--v8-pool-size=1"],
    assets: { ...assets(root, page), [BUILD_FILE]: join(work, BUILD_FILE) },
  };
  writeFileSync(join(work, "sea.json"), JSON.stringify(config));
  execFileSync(process.execPath, ["--random-seed=1", "--build-sea", join(work, "sea.json")], { cwd: work, stdio: ["ignore", "ignore", "inherit"] });
  mkdirSync(join(target, ".."), { recursive: true });
  renameSync(output, target);
  console.log(`${target}: commit ${build.commit}, bundle ${build.bundle.slice(0, 12)}`);
} finally {
  rmSync(work, { recursive: true, force: true });
}

function commit(): { commit: string; built: string } {
  const git = (...args: string[]) => execFileSync("git", ["-C", root, ...args], { encoding: "utf8" }).trim();
  // An archive of the source has no history.
  if (!existsSync(join(root, ".git"))) return { commit: "unknown", built: "unknown" };
  const changed = git("status", "--porcelain", "--untracked-files=no") === "" ? "" : "+changes";
  return { commit: `${git("rev-parse", "--short=12", "HEAD")}${changed}`, built: git("show", "-s", "--format=%cI", "HEAD") };
}
