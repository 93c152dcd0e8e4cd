import { Fault } from "../../lib/fault.ts";
import { defineVerb, type Verbs } from "../command.ts";
import type { ServerClient } from "../server/server-client.ts";
import { JSON_OPTION, selectServer, SERVER_OPTIONS } from "../server/server-command.ts";
import { formatTable, type Screen } from "../terminal.ts";
import { watchText } from "../watch.ts";

/** A running container; null: not measured yet, or the driver does not tell it. */
type RunningRow = { name: string; cpu: number; memoryMb: number; cpuUse: number | null; memoryUseMb: number | null };
type RowPage = { total: number; rows: RunningRow[] };

/** Rows of one request. */
const PAGE = 200;
/** berth measures so often. */
const WATCH_MS = 10_000;

/** `berth stats` */
export const verbs: Verbs = {
  "": defineVerb({
    words: "[<word>]",
    summary: "show what running containers use of what they reserve, the most memory first",
    details: "CPU is in cores, on average over the last 10 seconds. A container has no figures until it was measured twice.",
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, watch: { short: "w", summary: "print the table again when it changes, until Ctrl-C" } },
    completes: "containers",
    endsWithReader: true,
    run: async ({ context, words: [word = ""], options, screen, signal }) => {
      if (options.watch && options.json) throw new Fault("SETTINGS_INVALID", "--watch prints text: leave --json and -o json or yaml out.");
      const server = selectServer(context, options);
      const text = async () => table(await loadRunning(server, word), screen);
      if (options.watch) return watchText({ text, everyMs: WATCH_MS, screen, clock: context.clock, signal });
      if (!options.json) return screen.print(await text());
      screen.json(
        (await loadRunning(server, word)).map(({ name, cpu, memoryMb, cpuUse, memoryUseMb }) => ({ name, cpuUse, cpu, memoryUseMb, memoryMb })),
      );
    },
  }),
};

/** Faults: those of the call. */
async function loadRunning(server: Pick<ServerClient, "call">, word: string): Promise<RunningRow[]> {
  const all: RunningRow[] = [];
  for (;;) {
    const query = new URLSearchParams({ group: "running", search: word, offset: String(all.length), limit: String(PAGE) });
    const { rows } = await server.call<RowPage>("GET", `/docker/containers/rows?${String(query)}`);
    all.push(...rows);
    if (rows.length < PAGE)
      return all.toSorted((one, other) => (other.memoryUseMb ?? -1) - (one.memoryUseMb ?? -1) || one.name.localeCompare(other.name));
  }
}

function table(all: readonly RunningRow[], screen: Screen): string {
  if (all.length === 0) return "No container runs.";
  const share = (used: number | null, reserved: number) => (used === null || reserved === 0 ? "-" : `${Math.round((used / reserved) * 100)} %`);
  const cells = all.map(({ name, cpu, memoryMb, cpuUse, memoryUseMb }) => [
    name,
    cpuUse === null ? "-" : cpuUse.toFixed(2),
    String(cpu),
    share(cpuUse, cpu),
    memoryUseMb === null ? "-" : `${Math.round(memoryUseMb)} MB`,
    `${memoryMb} MB`,
    share(memoryUseMb, memoryMb),
  ]);
  return formatTable(["NAME", "CPU", "OF", "CPU %", "MEMORY", "OF", "MEMORY %"], cells, screen, () => undefined);
}
