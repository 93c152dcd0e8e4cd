/**
 * `npm run correctness [-- --peers] [id…]`: asks every row and prints what came out; of berth's engines, or of the other proxies that
 * are installed here, whose answers are written down for the page.
 */
import { writeFileSync } from "node:fs";
import { ENGINES } from "./engines.ts";
import { openBerth } from "./open-berth.ts";
import { MEASURED_FILE, readMeasured, type Measured } from "./peers/measured.ts";
import { openPeer } from "./peers/open-peer.ts";
import { PROGRAMS } from "./peers/programs.ts";
import { probeRow, type Scope } from "./probe-row.ts";
import type { Probed, CorrectnessRow } from "./row.ts";
import { ROWS } from "./rows.ts";

const wanted = process.argv.slice(2).filter((word) => word !== "--peers");
const rows = ROWS.filter(({ id }) => wanted.length === 0 || wanted.includes(id));

if (!process.argv.includes("--peers")) {
  for (const { forwarder } of ENGINES) await printed(forwarder, rows, (scope, limits) => openBerth(scope, { forwarder }, limits));
} else {
  const all: Measured[] = [];
  const before = readMeasured();
  for (const peer of PROGRAMS) {
    const version = peer.version();
    if (version === undefined) continue;
    const common = rows.filter(({ own }) => own !== true);
    const wrong = await printed(`${peer.name} ${version}`, common, (scope) => openPeer(scope, peer));
    // Rows that did not run now keep their results.
    const previous = before.find(({ name }) => name === peer.name)?.wrong ?? {};
    const kept = Object.entries(previous).filter(([id]) => ROWS.some((row) => row.id === id) && !rows.some((row) => row.id === id));
    all.push({ name: peer.name, version, wrong: { ...Object.fromEntries(kept), ...wrong } });
  }
  writeFileSync(MEASURED_FILE, `${JSON.stringify(all, null, 2)}\n`);
}
process.exit(0);

/** What was wrong, by row. */
async function printed(
  name: string,
  all: readonly CorrectnessRow[],
  open: (scope: Scope, limits: CorrectnessRow["limits"]) => Promise<Probed>,
): Promise<Record<string, string>> {
  const wrong: Record<string, string> = {};
  for (const row of all) {
    const begun = performance.now();
    const { targets: seen, missed } = await probeRow(row, open);
    if (missed.length > 0) wrong[row.id] = seen.slice(0, 200);
    const how = `${missed.length === 0 ? "right" : "WRONG"} ${name} ${row.id} (${Math.round(performance.now() - begun)} ms): ${seen}`;
    console.log([how, ...missed.map((what) => `      missed: ${what}`)].join("\n"));
  }
  return wrong;
}
