/** `npm run correctness [-- id…]`: asks berth's engines every row, and prints what came out. */
import { ENGINES } from "./engines.ts";
import { openBerth } from "./open-berth.ts";
import { probeRow } from "./probe-row.ts";
import { ROWS } from "./rows.ts";

const only = process.argv.slice(2);
for (const { forwarder } of ENGINES) {
  for (const row of ROWS.filter(({ id }) => only.length === 0 || only.includes(id))) {
    const begun = performance.now();
    const { seen, missed } = await probeRow(row, (scope, limits) => openBerth(scope, forwarder, limits));
    const ms = Math.round(performance.now() - begun);
    console.log(
      `${missed.length === 0 ? "right" : "WRONG"} ${forwarder} ${row.id} (${ms} ms): ${seen}${missed.map((what) => `\n      missed: ${what}`).join("")}`,
    );
  }
}
process.exit(0);
