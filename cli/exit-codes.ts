import { Fault, type FaultCode } from "../lib/fault.ts";

type Exit = { code: number; says: string; faults?: readonly FaultCode[]; statuses?: readonly number[] };

/** With which number a command ends: the first row that has the fault's code or status. Scripts compare these, so none is ever changed. */
export const EXITS = {
  done: { code: 0, says: "it was done" },
  usage: { code: 2, says: "the command line or the settings are wrong; nothing was done", faults: ["SETTINGS_INVALID"] },
  away: {
    code: 5,
    says: "the server, its registry or the Docker engine cannot be reached",
    faults: ["CONTROL_AWAY", "DATAGROK_AWAY", "REGISTRY_UNREACHABLE", "ENGINE_UNREACHABLE"],
  },
  missing: { code: 3, says: "what was named is not there", statuses: [404] },
  refused: { code: 4, says: "not signed in, or not allowed to", statuses: [401, 403] },
  failed: { code: 1, says: "it failed, for any other reason" },
  interrupted: { code: 130, says: "interrupted, by Ctrl-C or by being told to end" },
} as const satisfies Record<string, Exit>;

/** For whoever pressed Ctrl-C: not a failure, and nothing to be told. */
export class Interrupted extends Error {}

export function exitOf(error: unknown): number {
  if (error instanceof Interrupted) return EXITS.interrupted.code;
  if (!(error instanceof Fault)) return EXITS.failed.code;
  const rows: Exit[] = Object.values(EXITS);
  return (rows.find(({ faults = [], statuses = [] }) => faults.includes(error.code) || statuses.includes(error.status)) ?? EXITS.failed).code;
}
