import type { ControlProcessesJson } from "../../control/api/schemas.ts";
import { formatDuration } from "../terminal.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { requestVerb } from "./server-command.ts";

/** `berth status` */
export const STATUS: Verbs = {
  "": requestVerb({
    words: "",
    summary: "show the control processes, which of them leads, and their database",
    request: (call) => call<ControlProcessesJson>("GET", "/admin/control"),
    format: formatStatus,
  }),
};

const STEP_DOWN = requestVerb({
  expects: ["epoch"],
  words: "",
  summary: "let another control process lead, as before maintenance of the leader's machine",
  request: (call) => call<{ epoch: number }>("POST", "/admin/control/step-down"),
  format: ({ epoch }) => `The leader of epoch ${epoch} steps down. \`berth status\` shows the next one.`,
});

/** `berth control`, and what it does to a running control plane. */
export const CONTROL: Verbs = {
  "": defineVerb({
    words: "",
    summary: "run only the control plane",
    options: {},
    run: async ({ context }) => (await import("../run-process.ts")).runControlProcess(context),
  }),
  "step-down": STEP_DOWN,
};

function formatStatus({ database, epoch, processes, gateways }: ControlProcessesJson): string {
  const connected = `Gateways  ${gateways} connected`;
  if (database === null) return `Control   one process, with its store in the data folder\n${connected}`;
  const lines = processes
    .toSorted((one, other) => Number(other.leads) - Number(one.leads))
    .map(
      ({ name, url, version, leads, lagMs, upMs }) =>
        `${leads ? "Leader  " : "Standby "}  ${name}${url === "" ? "" : `  ${url}`}  berth ${version}, up ${formatDuration(upMs)}, last contact ${formatDuration(lagMs)} ago`,
    );
  return [...lines, `Epoch     ${epoch}`, `Database  ${database.name}, ${Math.round(database.roundTripMs)} ms`, connected].join("\n");
}
