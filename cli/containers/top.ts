import { Fault } from "../../lib/fault.ts";
import { JSON_OPTION, SERVER_OPTIONS, serverOf } from "../server/server-command.ts";
import { ago } from "../terminal/ago.ts";
import { openFullScreen } from "../terminal/full-screen.ts";
import type { Screen } from "../terminal/screen.ts";
import { stateColour } from "../terminal/state-colour.ts";
import { textTable } from "../terminal/text-table.ts";
import { verb, type Verbs } from "../verb.ts";
import { containerJson } from "./containers.ts";
import { openTopFacts, type Seen } from "./top-facts.ts";

const USUAL_SECONDS = 2;
const MOST_SECONDS = 3_600;

export const verbs: Verbs = {
  "": verb({
    words: "[<word>]",
    says: "watch what containers do, those that run first; q leaves. Where it is no terminal, or with --json, once",
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, every: { takes: "<seconds>", says: `how often it looks (${USUAL_SECONDS})` } },
    run: async ({ here, words: [word], given, screen, signal }) => {
      const everyMs = readSeconds(given.every) * 1_000;
      const { clock } = here;
      const look = openTopFacts(serverOf(here, given), word);
      const first = await look();
      if (given.json) return screen.json(first.map(topJson));
      if (screen.width === undefined) return screen.print(table(first, clock.now(), screen));
      const full = openFullScreen(screen, signal);
      let trouble = "";
      try {
        for (let seen = first; ;) {
          full.draw(`${heading(seen)}${trouble}`, table(seen, clock.now(), screen));
          await clock.sleep(everyMs, full.left);
          trouble = "";
          // One that is away may come back, and what was seen last is still of use.
          seen = await look().catch((error: unknown) => {
            if (!(error instanceof Fault) || error.code !== "CONTROL_AWAY") throw error;
            trouble = `: ${error.message}`;
            return seen;
          });
        }
      } catch (error) {
        if (!full.left.aborted || signal.aborted) throw error;
      } finally {
        full.close();
      }
    },
  }),
};

/** Faults: SETTINGS_INVALID. */
function readSeconds(text: string = String(USUAL_SECONDS)): number {
  const seconds = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && seconds >= 0.2 && seconds <= MOST_SECONDS) return seconds;
  throw new Fault("SETTINGS_INVALID", `--every takes seconds from 0.2 to ${MOST_SECONDS}.`);
}

function heading(all: readonly Seen[]): string {
  const counts = new Map<string, number>();
  for (const { status } of all) counts.set(status, (counts.get(status) ?? 0) + 1);
  const counted = [...counts].map(([status, count]) => `${count} ${status}`).join(", ");
  return `${all.length} ${all.length === 1 ? "container" : "containers"}${counted && `: ${counted}`}`;
}

/** Of processors and memory what a container may use: no server says yet what it does use. */
function table(all: readonly Seen[], now: number, screen: Screen): string {
  const rows = all.map(({ name, status, since, open, lastActive, config, address, port }) => [
    name,
    status,
    ago(since, now),
    open === null ? "-" : String(open),
    ago(lastActive, now),
    config?.cpu === undefined ? "-" : `≤ ${config.cpu}`,
    config?.memory === undefined ? "-" : `≤ ${config.memory} MB`,
    address ? `${address}:${port}` : "-",
  ]);
  const heads = ["NAME", "STATUS", "SINCE", "OPEN", "USED", "CPU", "MEMORY", "ADDRESS"];
  return textTable(heads, rows, screen, (column, cell) => (column === "STATUS" ? stateColour(cell) : undefined));
}

function topJson({ since, open, ...one }: Seen): Record<string, unknown> {
  return { ...containerJson(one), since, open, cpuLimit: one.config?.cpu ?? null, memoryLimitMb: one.config?.memory ?? null };
}
