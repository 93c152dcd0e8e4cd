import type { Test } from "tap";
import type { Probed, CorrectnessRow, RowResult } from "./row.ts";

/** Something that is open for as long as one row is probed. */
export type Scope = Pick<Test, "teardown">;

/** Opens a proxy, asks it one row and closes everything again. What a probe throws is a miss too. */
export async function probeRow(row: CorrectnessRow, open: (scope: Scope, limits: CorrectnessRow["limits"]) => Promise<Probed>): Promise<RowResult> {
  const acts: (() => unknown)[] = [];
  const scope = { teardown: (act: () => unknown) => void acts.push(act) } as Scope;
  try {
    return await row.probe(await open(scope, row.limits));
  } catch (error) {
    return { targets: String(error), missed: ["an outcome"] };
  } finally {
    for (const act of acts.toReversed()) await act();
  }
}
