import { Fault } from "../../lib/fault.ts";
import { type DoctorOptions, openCheckContext, type CheckContext, type CheckProblem, problemOf, type Check } from "./check.ts";
import { CHECKS } from "./checks.ts";
import { loadKeyFile } from "../server/choose-server.ts";
import { defineVerb, requireHttpUrl, type Verbs } from "../command.ts";
import { withTimeout } from "../../lib/deadline.ts";
import type { Colour } from "../terminal/format.ts";
import type { Screen } from "../terminal/screen.ts";

const MOST_IDLE = 3_600;

export const verbs: Verbs = {
  "": defineVerb({
    words: "",
    summary: "check every step from a browser to a container, with a test container that is removed afterwards, and say what to repair",
    details: "Ends with 0 if no check fails. Run it as berth's user and with its variables, where berth runs.",
    options: {
      json: { summary: "print one JSON document" },
      server: { value: "<url>", summary: "the public address, where not BERTH_WEB_ROOT, or where that is not set the edge of this machine" },
      registry: { value: "<url>", summary: "the registry proxy as docker reaches it, where not its listener on this machine" },
      "key-file": {
        value: "<file>",
        summary: "a file with an administrator's developer key; else the first user's, or with DATAGROK_URL that of BERTH_DATAGROK_KEY",
        completes: "files",
      },
      image: {
        value: "<image>",
        summary: "an image of berth that the orchestrator can pull, for its container; plain processes, Docker and a swarm of one node need none",
      },
      store: { summary: "check the whole store with SQLite; takes seconds for a large store, and berth can run meanwhile" },
      idle: { value: "<seconds>", summary: "hold silent connections this long, to find what closes them" },
    },
    run: async ({ context, options, screen, signal }) => {
      const { server, registry, image, idle = "0", store = false, "key-file": file, json = false } = options;
      const key = file === undefined ? undefined : loadKeyFile(file);
      for (const url of [server, registry]) if (url !== undefined) requireHttpUrl(url);
      const doctorOptions: DoctorOptions = { server, registry, image, key, store, idleSeconds: parseIdle(idle) };
      const rows = await runChecks(CHECKS, openCheckContext(context, doctorOptions), signal, (row) => {
        if (!json) screen.print(formatRow(row, screen.paint));
      });
      if (json) screen.json(reportJson(rows));
      else screen.print(`\n${formatTotals(rows)}`);
      signal.throwIfAborted();
      const wrong = rows.filter(({ state }) => state === "wrong").map(({ link }) => link);
      if (countRows(rows).wrong > 0) throw new Fault("CHAIN_BROKEN", `Wrong: ${wrong.join(", ")}.`);
    },
  }),
};

function parseIdle(text: string): number {
  if (/^\d{1,4}$/.test(text) && Number(text) <= MOST_IDLE) return Number(text);
  throw new Fault("SETTINGS_INVALID", `--idle takes seconds from 0 to ${MOST_IDLE}.`);
}

const STATES = ["ok", "wrong", "not looked at"] as const;

/** One link, looked at. `says` is what was found, or why there was no look. */
export type ReportRow = { link: string; state: (typeof STATES)[number]; says: string; problems: readonly CheckProblem[]; ms: number };

/**
 * Looks at one link after another, each within its time. What needs a link that is wrong is not looked at, nor anything once `signal` aborts. What was
 * made on the way is removed in any case, and the final row lists what cannot be removed.
 */
export async function runChecks(
  links: readonly Check[],
  chain: CheckContext,
  signal: AbortSignal,
  onRow: (row: ReportRow) => void = () => {},
): Promise<ReportRow[]> {
  const rows: ReportRow[] = [];
  const broken = new Set<string>();
  const add = (row: ReportRow) => {
    rows.push(row);
    onRow(row);
  };
  for (const link of links) {
    const { name, needs } = link;
    const cause = needs.find((one) => broken.has(one));
    const row: ReportRow =
      cause === undefined
        ? await runCheck(link, chain, signal)
        : { link: name, state: "not looked at", says: `"${cause}" comes first`, problems: [], ms: 0 };
    if (row.state === "wrong" || cause !== undefined) broken.add(name);
    add(row);
  }
  const left = await chain.close();
  if (left.length > 0) add({ link: "clearing up", state: "wrong", says: "something of this look is still there", problems: left, ms: 0 });
  return rows;
}

async function runCheck(link: Check, chain: CheckContext, signal: AbortSignal): Promise<ReportRow> {
  const { clock } = chain;
  const begun = clock.monotonic();
  const row = (state: ReportRow["state"], says: string, problems: readonly CheckProblem[] = []): ReportRow => {
    return { link: link.name, state, says, problems, ms: Math.round(clock.monotonic() - begun) };
  };
  try {
    const ms = typeof link.ms === "number" ? link.ms : link.ms(chain);
    const overdue = () => new Fault("CHAIN_BROKEN", `No result within ${ms / 1_000} s.`);
    const result = await withTimeout({ clock, ms, overdue, signal }, (own) => link.check(chain, own));
    if ("unlooked" in result) return row("not looked at", result.unlooked);
    const { says, problems = [] } = result;
    return row(problems.some(({ kind }) => kind === "wrong") ? "wrong" : "ok", says, problems);
  } catch (error) {
    if (signal.aborted) return row("not looked at", "interrupted");
    return row("wrong", "", [problemOf(error, link.advice)]);
  }
}

type Paint = Screen["paint"];

/** A mark and a word, so that nothing depends on colours. */
const MARKS: Readonly<Record<ReportRow["state"], { mark: string; colour: Colour }>> = {
  ok: { mark: "✓ ok   ", colour: "green" },
  wrong: { mark: "✗ wrong", colour: "red" },
  "not looked at": { mark: "–      ", colour: "dim" },
};
const NAME_WIDTH = 14;

/** One line, and below it what is wrong and what to do. */
export function formatRow({ link, state, says, problems }: ReportRow, paint: Paint): string {
  const lines = problems.flatMap(({ what, todo, kind }) => {
    const [first = "", ...more] = what.split("\n");
    const firstLine = kind === "warning" ? `${paint("yellow", "warning:")} ${first}` : first;
    return [firstLine, ...more.map((line) => `  ${line}`), `→ ${todo}`].map((line) => `          ${line}`);
  });
  const text = state === "not looked at" ? `not looked at: ${says}` : says;
  const { mark, colour } = MARKS[state];
  return [`${paint(colour, mark)} ${link.padEnd(NAME_WIDTH)} ${state === "wrong" ? "" : text}`.trimEnd(), ...lines].join("\n");
}

type ReportCounts = Record<ReportRow["state"] | "warnings", number>;

export function countRows(rows: readonly ReportRow[]): ReportCounts {
  const of = (state: ReportRow["state"]) => rows.filter((row) => row.state === state).length;
  const warnings = rows.flatMap(({ problems }) => problems).filter(({ kind }) => kind === "warning").length;
  return { ...(Object.fromEntries(STATES.map((state) => [state, of(state)])) as Record<ReportRow["state"], number>), warnings };
}

export function formatTotals(rows: readonly ReportRow[]): string {
  const { warnings, ...states } = countRows(rows);
  const counted = Object.entries(states).map(([state, count]) => `${count} ${state}`);
  return `${counted.join(", ")}${warnings === 0 ? "" : `; ${warnings} ${warnings === 1 ? "warning" : "warnings"}`}`;
}

/** The same for programs. */
export function reportJson(rows: readonly ReportRow[]): object {
  return { ok: countRows(rows).wrong === 0, count: countRows(rows), links: rows };
}
