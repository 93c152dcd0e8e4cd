import { styleText } from "node:util";
import { type Row, STATES } from "./walk.ts";

type Paint = (word: string, of: keyof typeof COLOURS) => string;

const COLOURS = { ok: "green", wrong: "red", "not looked at": "gray", warning: "yellow" } as const;
/** A mark and a word, so that nothing depends on colours. */
const MARKS = { ok: "✓ ok   ", wrong: "✗ wrong", "not looked at": "–      " } as const;
const NAME_WIDTH = 14;

/** Paints words where a person looks at a terminal and has not asked for none (no-color.org). */
export function painter({ isTty, noColor }: { isTty: boolean; noColor: string | undefined }): Paint {
  const paints = isTty && !noColor;
  return (word, of) => (paints ? styleText(COLOURS[of], word, { validateStream: false }) : word);
}

/** One line, and below it what is wrong and what to do. */
export function lineOf({ link, state, says, problems }: Row, paint: Paint): string {
  const lines = problems.flatMap(({ what, todo, kind }) => {
    const [first = "", ...more] = what.split("\n");
    const told = kind === "warning" ? `${paint("warning:", "warning")} ${first}` : first;
    return [told, ...more.map((line) => `  ${line}`), `→ ${todo}`].map((line) => `          ${line}`);
  });
  const said = state === "not looked at" ? `not looked at: ${says}` : says;
  return [`${paint(MARKS[state], state)} ${link.padEnd(NAME_WIDTH)} ${state === "wrong" ? "" : said}`.trimEnd(), ...lines].join("\n");
}

export type Count = Record<Row["state"] | "warnings", number>;

export function countOf(rows: readonly Row[]): Count {
  const of = (state: Row["state"]) => rows.filter((row) => row.state === state).length;
  const warnings = rows.flatMap(({ problems }) => problems).filter(({ kind }) => kind === "warning").length;
  return { ...(Object.fromEntries(STATES.map((state) => [state, of(state)])) as Record<Row["state"], number>), warnings };
}

export function lastLine(rows: readonly Row[]): string {
  const { warnings, ...states } = countOf(rows);
  return `${Object.entries(states).map(([state, count]) => `${count} ${state}`).join(", ")}${warnings === 0 ? "" : `; ${warnings} ${warnings === 1 ? "warning" : "warnings"}`}`; // prettier-ignore
}

/** The same for programs. */
export function documentOf(rows: readonly Row[]): string {
  return JSON.stringify({ ok: countOf(rows).wrong === 0, count: countOf(rows), links: rows }, undefined, 2);
}
