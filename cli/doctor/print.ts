import type { Colour, Screen } from "../terminal/screen.ts";
import { type Row, STATES } from "./run-checks.ts";

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
