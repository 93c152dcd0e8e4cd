import { hash } from "node:crypto";
import { existsSync, globSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import about from "../../package.json" with { type: "json" };
import { replaceFile } from "../../lib/replace-file.ts";

const NAME = "TEST_PROGRAM";

/** What `node` runs as berth: the bundle of a whole run, or the source tree. */
export const PROGRAM = process.env[NAME] ?? join(import.meta.dirname, "../../berth.ts");

/** Bundles of earlier sources go after this time: another run may use one. */
const KEPT_MS = 3_600_000;

/**
 * Writes berth as one file, and returns the variable that names what starts it. A whole run starts berth hundreds of times, and one file of 9 MB starts with
 * two thirds of the processor time of a thousand files. It is in node_modules, where it finds the packages that it does not contain.
 */
export async function bundleProgram(root: string): Promise<Record<string, string>> {
  // Only a whole run loads esbuild.
  const { bundle } = await import("../../conf/binary/bundle.ts");
  const code = Buffer.from(await bundle(root, { for: "tests", version: about.version }));
  const folders = join(root, "node_modules/.cache/berth-tests");
  // V8 accepts compiled code of another source of the same length.
  const folder = join(folders, hash("sha256", code).slice(0, 16));
  const program = join(folder, "berth.cjs");
  for (const one of globSync(`${folders}/*`)) if (one !== folder && Date.now() - statSync(one).mtimeMs > KEPT_MS) rmSync(one, { recursive: true });
  if (existsSync(program)) return { [NAME]: program };
  mkdirSync(folder, { recursive: true });
  // Its first line is for a shell.
  replaceFile(join(folder, "bundle.cjs"), code.subarray(code.indexOf("\n")), { mode: 0o644, isDurable: false });
  const starter = { copyOf: join(import.meta.dirname, "start-bundle.cjs") };
  const first = join(folder, "first.cjs");
  replaceFile(first, starter, { mode: 0o644, isDurable: false });
  await startOnce(first);
  // Last: a run that finds it finds all of it.
  replaceFile(program, starter, { mode: 0o644, isDurable: false });
  return { [NAME]: program };
}

/** Its processes write what V8 compiled for them. */
async function startOnce(program: string): Promise<void> {
  const { startBerthProcess } = await import("../fixtures/berth-process.ts");
  const data = mkdtempSync(join(tmpdir(), "berth-first-"));
  const env = { BERTH_DATA: data, BERTH_DRIVER: "process", BERTH_EDGE_PORT: "0", BERTH_ADMIN_KEY: "of-the-first-start", TEST_FIRST_START: "1" };
  try {
    const berth = await startBerthProcess({ role: "serve", cwd: data, env, announces: /http:\S+/, command: [process.execPath, program] });
    await berth.end("SIGTERM");
  } catch (error) {
    // The tests say more about a berth that does not start.
    console.error(error);
  } finally {
    rmSync(data, { recursive: true });
  }
}
