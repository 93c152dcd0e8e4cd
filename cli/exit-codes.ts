import { Fault, type FaultCode } from "../lib/fault.ts";

type ExitCode = { code: number; summary: string; faults?: readonly FaultCode[]; statuses?: readonly number[] };

/** With which number a command ends: the first row that has the fault's code or status. Scripts compare these, so none is ever changed. */
export const EXIT_CODES = {
  done: { code: 0, summary: "it was done" },
  usage: { code: 2, summary: "the command line or the settings are wrong; nothing was done", faults: ["SETTINGS_INVALID"] },
  away: {
    code: 5,
    summary: "the server, its registry or the Docker engine cannot be reached",
    faults: ["CONTROL_AWAY", "DATAGROK_AWAY", "REGISTRY_UNREACHABLE", "ENGINE_UNREACHABLE"],
  },
  missing: { code: 3, summary: "what was named is not there", statuses: [404] },
  refused: { code: 4, summary: "not signed in, or not allowed to", statuses: [401, 403] },
  failed: { code: 1, summary: "it failed, for any other reason" },
  interrupted: { code: 130, summary: "interrupted by Ctrl-C or a signal" },
} as const satisfies Record<string, ExitCode>;

/** After Ctrl-C: not a failure, and no message. */
export class Interrupted extends Error {}

export function exitCodeOf(error: unknown): number {
  if (error instanceof Interrupted) return EXIT_CODES.interrupted.code;
  if (!(error instanceof Fault)) return EXIT_CODES.failed.code;
  const rows: ExitCode[] = Object.values(EXIT_CODES);
  return (rows.find(({ faults = [], statuses = [] }) => faults.includes(error.code) || statuses.includes(error.status)) ?? EXIT_CODES.failed).code;
}
