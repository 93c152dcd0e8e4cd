import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import { defineVerb, requireHttpUrl, type Verbs } from "../command.ts";
import { loadKeyFile } from "../server/server-command.ts";
import type { Colour, Screen } from "../terminal.ts";
import { type Check, type CheckContext, type CheckProblem, type DoctorOptions, openCheckContext, problemOf } from "./check.ts";
import { CHECKS } from "./checks.ts";

const MOST_IDLE = 3_600;

export const verbs: Verbs = {
  "": defineVerb({
    words: "",
    summary: "check every step from a browser to a container and print what to repair; starts a test container and removes it",
    details: "Exits with 0 if no check fails. Run it on berth's machine, as its user and with its variables.",
    options: {
      json: { summary: "print one JSON document" },
      server: { value: "<url>", summary: "the public address; the default is BERTH_WEB_ROOT, else the edge of this machine" },
      registry: { value: "<url>", summary: "the registry proxy as docker reaches it; the default is its listener on this machine" },
      "key-file": {
        value: "<file>",
        summary: "file with an administrator's developer key; the default is the first user's key, or BERTH_DATAGROK_KEY if DATAGROK_URL is set",
        completes: "files",
      },
      image: {
        value: "<image>",
        summary:
          "an image of berth for the test container, which the orchestrator can pull; not needed for plain processes, Docker and a Swarm of one node",
      },
      store: { summary: "check the whole store with SQLite; takes seconds for a large store, and berth can run meanwhile" },
      idle: { value: "<seconds>", summary: "hold silent connections this long, to find out what closes them" },
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

/** The result of one check. `says` is the finding, or why the check was skipped. */
export type ReportRow = { link: string; state: (typeof STATES)[number]; says: string; problems: readonly CheckProblem[]; ms: number };

/**
 * Runs one check after another, each within its time limit. Skips checks that need a failed one, and all once `signal` aborts. Removes in any case what
 * the checks created; the final row lists what remains.
 */
export async function runChecks(
  checks: readonly Check[],
  shared: CheckContext,
  signal: AbortSignal,
  onRow: (row: ReportRow) => void = () => {},
): Promise<ReportRow[]> {
  const rows: ReportRow[] = [];
  const broken = new Set<string>();
  const add = (row: ReportRow) => {
    rows.push(row);
    onRow(row);
  };
  for (const check of checks) {
    const { name, needs } = check;
    const cause = needs.find((one) => broken.has(one));
    const row: ReportRow =
      cause === undefined
        ? await runCheck(check, shared, signal)
        : { link: name, state: "not looked at", says: `"${cause}" comes first`, problems: [], ms: 0 };
    if (row.state === "wrong" || cause !== undefined) broken.add(name);
    add(row);
  }
  const left = await shared.close();
  if (left.length > 0) add({ link: "clearing up", state: "wrong", says: "parts of these checks could not be removed", problems: left, ms: 0 });
  return rows;
}

async function runCheck(check: Check, shared: CheckContext, signal: AbortSignal): Promise<ReportRow> {
  const { clock } = shared;
  const begun = clock.monotonic();
  const row = (state: ReportRow["state"], says: string, problems: readonly CheckProblem[] = []): ReportRow => {
    return { link: check.name, state, says, problems, ms: Math.round(clock.monotonic() - begun) };
  };
  try {
    const ms = typeof check.ms === "number" ? check.ms : check.ms(shared);
    const overdue = () => new Fault("CHAIN_BROKEN", `No result within ${ms / 1_000} s.`);
    const result = await withTimeout({ clock, ms, overdue, signal }, (own) => check.check(shared, own));
    if ("unlooked" in result) return row("not looked at", result.unlooked);
    const { says, problems = [] } = result;
    return row(problems.some(({ kind }) => kind === "wrong") ? "wrong" : "ok", says, problems);
  } catch (error) {
    if (signal.aborted) return row("not looked at", "interrupted");
    return row("wrong", "", [problemOf(error, check.advice)]);
  }
}

type Paint = Screen["paint"];

/** A mark and a word, so that no meaning depends on a colour. */
const MARKS: Readonly<Record<ReportRow["state"], { mark: string; colour: Colour }>> = {
  ok: { mark: "✓ ok   ", colour: "green" },
  wrong: { mark: "✗ wrong", colour: "red" },
  "not looked at": { mark: "–      ", colour: "dim" },
};
const NAME_WIDTH = 14;

/** One line, and below it each problem and what to do. */
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

/** The report as JSON. */
export function reportJson(rows: readonly ReportRow[]): object {
  return { ok: countRows(rows).wrong === 0, count: countRows(rows), links: rows };
}
