import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import { type Chain, type Problem, problemOf, type Link } from "./check.ts";
import type { Colour, Screen } from "../terminal/screen.ts";

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

type Paint = Screen["paint"];

/** A mark and a word, so that nothing depends on colours. */
const MARKS: Readonly<Record<Row["state"], { mark: string; colour: Colour }>> = {
  ok: { mark: "✓ ok   ", colour: "green" },
  wrong: { mark: "✗ wrong", colour: "red" },
  "not looked at": { mark: "–      ", colour: "dim" },
};
const NAME_WIDTH = 14;

/** One line, and below it what is wrong and what to do. */
export function lineOf({ link, state, says, problems }: Row, paint: Paint): string {
  const lines = problems.flatMap(({ what, todo, kind }) => {
    const [first = "", ...more] = what.split("\n");
    const told = kind === "warning" ? `${paint("yellow", "warning:")} ${first}` : first;
    return [told, ...more.map((line) => `  ${line}`), `→ ${todo}`].map((line) => `          ${line}`);
  });
  const said = state === "not looked at" ? `not looked at: ${says}` : says;
  const { mark, colour } = MARKS[state];
  return [`${paint(colour, mark)} ${link.padEnd(NAME_WIDTH)} ${state === "wrong" ? "" : said}`.trimEnd(), ...lines].join("\n");
}

export type Count = Record<Row["state"] | "warnings", number>;

export function countOf(rows: readonly Row[]): Count {
  const of = (state: Row["state"]) => rows.filter((row) => row.state === state).length;
  const warnings = rows.flatMap(({ problems }) => problems).filter(({ kind }) => kind === "warning").length;
  return { ...(Object.fromEntries(STATES.map((state) => [state, of(state)])) as Record<Row["state"], number>), warnings };
}

export function lastLine(rows: readonly Row[]): string {
  const { warnings, ...states } = countOf(rows);
  const counted = Object.entries(states).map(([state, count]) => `${count} ${state}`);
  return `${counted.join(", ")}${warnings === 0 ? "" : `; ${warnings} ${warnings === 1 ? "warning" : "warnings"}`}`;
}

/** The same for programs. */
export function documentOf(rows: readonly Row[]): object {
  return { ok: countOf(rows).wrong === 0, count: countOf(rows), links: rows };
}
