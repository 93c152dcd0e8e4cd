import type { Test } from "tap";
import { ENGINES } from "./engines.ts";
import { openBerth, type How } from "./open-berth.ts";
import { probeRow } from "./probe-row.ts";
import { ROWS } from "./rows.ts";

/** Asks one engine every row: each is right, but for those that are declared, and those are not. */
export async function testEngine(t: Test, how: How): Promise<void> {
  const cannot = ENGINES.find(({ forwarder }) => forwarder === how.forwarder)?.cannot ?? {};
  for (const row of ROWS) {
    const { targets: seen, missed } = await probeRow(row, (scope, limits) => openBerth(scope, how, limits));
    const declared = cannot[row.id];
    if (declared === undefined) t.same(missed, [], `${row.id}: ${row.asks} (${seen})`);
    else t.not(missed.length, 0, `${row.id} is declared as one that it cannot pass, since ${declared} (${seen})`);
  }
}
