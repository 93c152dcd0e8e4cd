import t from "tap";
import { ENGINES } from "./engines.ts";
import { openBerth } from "./open-berth.ts";
import { probeRow } from "./probe-row.ts";
import { ROWS } from "./rows.ts";

for (const { forwarder, cannot } of ENGINES) {
  t.test(`the engine ${forwarder}`, async (t) => {
    for (const row of ROWS) {
      const { seen, missed } = await probeRow(row, (scope, limits) => openBerth(scope, forwarder, limits));
      const declared = cannot[row.id];
      if (declared === undefined) t.same(missed, [], `${row.id}: ${row.asks} (${seen})`);
      else t.not(missed.length, 0, `${row.id} is declared as one that it cannot pass, since ${declared} (${seen})`);
    }
  });
}

t.test("every row has a name of its own, and what is declared is a row", async (t) => {
  const ids = ROWS.map(({ id }) => id);
  t.equal(new Set(ids).size, ids.length);
  for (const { forwarder, cannot } of ENGINES)
    t.same(
      Object.keys(cannot).filter((id) => !ids.includes(id)),
      [],
      forwarder,
    );
});
