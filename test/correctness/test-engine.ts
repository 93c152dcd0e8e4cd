import type { Test } from "tap";
import { openBerth } from "./open-berth.ts";
import { ENGINES } from "./engines.ts";
import { probeRow } from "./probe-row.ts";
import { ROWS } from "./rows.ts";

/** Asks one engine every row: each is right, but for those that are declared, and those are not. */
export async function testEngine(t: Test, asked: string): Promise<void> {
  for (const { forwarder, cannot } of ENGINES) {
    if (forwarder !== asked) continue;
    for (const row of ROWS) {
      const { seen, missed } = await probeRow(row, (scope, limits) => openBerth(scope, forwarder, limits));
      const declared = cannot[row.id];
      if (declared === undefined) t.same(missed, [], `${row.id}: ${row.asks} (${seen})`);
      else t.not(missed.length, 0, `${row.id} is declared as one that it cannot pass, since ${declared} (${seen})`);
    }
  }
}
