import { openEngine } from "../fixtures/engine.ts";
import { openPackageServer } from "./open-server.ts";
import { printTable, type TrialRow } from "./print-table.ts";
import { readTarball } from "./read-tarball.ts";
import { buildStandInBase } from "./stand-in-base.ts";
import { tryPackage } from "./try-package.ts";

/** Tries the packages one after the other, on the engine that `DOCKER_HOST` names. `text` is what to print in the end. */
export async function tryPackages(
  files: readonly string[],
  { signal, progress }: { signal: AbortSignal; progress: (line: string) => void },
): Promise<{ passed: boolean; text: string }> {
  const engine = openEngine();
  const base = await buildStandInBase(engine.docker);
  const server = await openPackageServer(engine);
  const rows: TrialRow[] = [];
  const missing: string[] = [];
  const without: string[] = [];
  try {
    for (const file of files) {
      signal.throwIfAborted();
      const tarball = await readTarball(file);
      const name = `${tarball.name} ${tarball.version}`;
      if (![...tarball.files.keys()].some((path) => path.startsWith("dockerfiles/"))) {
        without.push(name);
        continue;
      }
      progress(`${name} …`);
      const trial = await tryPackage(server, base, tarball, signal);
      for (const row of trial.rows) progress(`  ${row.folder}: ${row.failed === "" ? "ok" : row.failed}`);
      rows.push(...trial.rows);
      missing.push(...trial.missing);
    }
  } finally {
    await server.close();
  }
  const failed = rows.filter((row) => row.failed !== "").length;
  const text = [
    printTable(rows),
    "",
    "Look-ups that find none of the package's containers:",
    ...(missing.length > 0 ? missing.map((line) => `- ${line}`) : ["- none"]),
    "",
    `Without containers: ${without.join(", ") || "none"}`,
    `${rows.length - failed} containers passed, ${failed} failed`,
  ].join("\n");
  return { passed: failed === 0 && rows.length > 0, text };
}
