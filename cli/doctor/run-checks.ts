import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import type { Chain } from "./check.ts";
import { type Problem, problemOf } from "./finding.ts";
import type { Link } from "./link.ts";

export const STATES = ["ok", "wrong", "not looked at"] as const;

/** One link, looked at. `says` is what was found, or why there was no look. */
export type Row = { link: string; state: (typeof STATES)[number]; says: string; problems: readonly Problem[]; ms: number };

/**
 * Looks at one link after another, each within its time. What needs a link that is wrong is not looked at, nor anything once `signal` aborts. What was
 * made on the way is removed in any case, and what cannot be removed told as the last row.
 */
export async function walk(links: readonly Link[], chain: Chain, signal: AbortSignal, tell: (row: Row) => void = () => {}): Promise<Row[]> {
  const rows: Row[] = [];
  const broken = new Set<string>();
  const add = (row: Row) => {
    rows.push(row);
    tell(row);
  };
  for (const link of links) {
    const { name, needs } = link;
    const cause = needs.find((one) => broken.has(one));
    const row: Row =
      cause === undefined
        ? await lookAt(link, chain, signal)
        : { link: name, state: "not looked at", says: `"${cause}" comes first`, problems: [], ms: 0 };
    if (row.state === "wrong" || cause !== undefined) broken.add(name);
    add(row);
  }
  const left = await chain.close();
  if (left.length > 0) add({ link: "clearing up", state: "wrong", says: "something of this look is still there", problems: left, ms: 0 });
  return rows;
}

async function lookAt(link: Link, chain: Chain, signal: AbortSignal): Promise<Row> {
  const { clock } = chain;
  const begun = clock.monotonic();
  const row = (state: Row["state"], says: string, problems: readonly Problem[] = []): Row => {
    return { link: link.name, state, says, problems, ms: Math.round(clock.monotonic() - begun) };
  };
  try {
    const ms = typeof link.ms === "number" ? link.ms : link.ms(chain);
    const overdue = () => new Fault("CHAIN_BROKEN", `It hangs: nothing was heard within ${ms / 1_000} s.`);
    const found = await withTimeout({ clock, ms, overdue, signal }, (own) => link.check(chain, own));
    if ("unlooked" in found) return row("not looked at", found.unlooked);
    const { says, problems = [] } = found;
    return row(problems.some(({ kind }) => kind === "wrong") ? "wrong" : "ok", says, problems);
  } catch (error) {
    if (signal.aborted) return row("not looked at", "interrupted");
    return row("wrong", "", [problemOf(error, link.advice)]);
  }
}
