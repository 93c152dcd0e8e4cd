import { join } from "node:path";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Test } from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { type DoctorOptions, openCheckContext } from "../../../cli/doctor/check.ts";
import { CHECKS } from "../../../cli/doctor/checks.ts";
import { type ReportRow, runChecks } from "../../../cli/doctor/doctor.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

export const PROGRAM = join(import.meta.dirname, "../../../berth.ts");
export type CheckRows = Record<string, ReportRow>;

/** Looks at the links of these names alone, of the settings that these variables are. */
export async function look(
  t: Test,
  names: readonly string[] | "all",
  env: Record<string, string>,
  more: Partial<DoctorOptions> = {},
): Promise<CheckRows> {
  const folder = tempFolder(t);
  const here = {
    env: { BERTH_DATA: join(folder, "none"), XDG_RUNTIME_DIR: folder, ...env },
    args: [],
    script: PROGRAM,
    parent: undefined,
    parseSettingsFile: undefined,
    clock: systemClock(),
  };
  const options: DoctorOptions = { server: undefined, registry: undefined, key: undefined, image: undefined, store: false, idleSeconds: 0, ...more };
  const links = CHECKS.filter(({ name }) => names === "all" || names.includes(name));
  return byName(await runChecks(links, openCheckContext(here, options), new AbortController().signal));
}

export function byName(rows: readonly ReportRow[]): CheckRows {
  return Object.fromEntries(rows.map((row) => [row.link, row]));
}

/** The state of each, so that a whole look is one line. */
export function states(rows: CheckRows): Record<string, ReportRow["state"]> {
  return Object.fromEntries(Object.entries(rows).map(([name, { state }]) => [name, state]));
}

/** `berth doctor` as a program; `hear` gets each line that it prints. */
export function doctor(
  args: string[],
  env: NodeJS.ProcessEnv,
  hear: (line: string, interrupt: () => void) => void = () => {},
  wrapper: string[] = [],
) {
  return new Promise<{ code: number | null; out: string; err: string }>((resolve, reject) => {
    const [file = "", ...words] = [...wrapper, process.execPath, PROGRAM, "doctor", ...args];
    const child = spawn(file, words, { env: { PATH: process.env["PATH"], ...env }, stdio: ["ignore", "pipe", "pipe"] });
    let [out, err] = ["", ""];
    child.stderr.on("data", (piece: Buffer) => (err += piece.toString()));
    createInterface({ input: child.stdout }).on("line", (line) => {
      out += `${line}\n`;
      hear(line, () => child.kill("SIGINT"));
    });
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, out, err }));
  });
}
