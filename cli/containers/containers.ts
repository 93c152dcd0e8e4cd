import { ago } from "../terminal/text.ts";
import { stateColour, textTable } from "../terminal/text-table.ts";
import { type ContainerOnWire, listOf } from "../server/find-entity.ts";
import { JSON_OPTION, SERVER_OPTIONS, serverOf } from "../server/server-command.ts";
import { verb, type Verbs } from "../command.ts";

type Column = {
  key: string;
  head?: string;
  of(one: ContainerOnWire): string | number | boolean | null;
  cell?(one: ContainerOnWire, now: number): string;
};

/** What is told of a container: every row for programs, those with a head for people. Variables are left out, which may hold secrets. */
export const COLUMNS: readonly Column[] = [
  { key: "name", head: "NAME", of: ({ name }) => name },
  { key: "status", head: "STATUS", of: ({ status }) => status },
  { key: "lastActive", head: "USED", of: ({ lastActive }) => lastActive ?? null, cell: ({ lastActive }, now) => ago(lastActive, now) },
  { key: "image", head: "IMAGE", of: ({ dockerImage, dockerfile }) => dockerImage ?? dockerfile?.imageRef ?? null },
  { key: "imageStatus", of: ({ dockerfile }) => dockerfile?.status ?? null },
  { key: "onDemand", head: "WAKES", of: ({ config }) => config?.on_demand ?? null, cell: ({ config }) => (config?.on_demand ? "yes" : "no") },
  { key: "idleMinutes", of: ({ config }) => config?.shutdown_timeout ?? null },
  { key: "address", of: ({ address }) => address ?? null },
  { key: "port", of: ({ port }) => port ?? null },
  { key: "service", of: ({ serviceName }) => serviceName ?? null },
  { key: "id", head: "ID", of: ({ id }) => id, cell: ({ id }) => id.slice(0, 8) },
];

export function containerJson(one: ContainerOnWire): Record<string, unknown> {
  return Object.fromEntries(COLUMNS.map(({ key, of }) => [key, of(one)]));
}

export const verbs: Verbs = {
  "": verb({
    words: "[<word>]",
    says: "list containers, or those with a word in their names",
    options: {
      ...SERVER_OPTIONS,
      ...JSON_OPTION,
      status: { takes: "<beginning>", says: "only those whose status begins so: started, stopped, error …" },
    },
    completes: "containers",
    run: async ({ here, words: [word], given, screen }) => {
      const all = await listOf(serverOf(here, given), "containers", word);
      const meant = all.filter(({ status }) => status.startsWith(given.status ?? "")).toSorted((a, b) => a.name.localeCompare(b.name));
      if (given.json) return screen.json(meant.map(containerJson));
      if (meant.length === 0) return screen.print(all.length === 0 && word === undefined ? "There are no containers." : "There are none.");
      const shown = COLUMNS.filter(({ head }) => head !== undefined);
      const rows = meant.map((one) => shown.map(({ of, cell }) => cell?.(one, here.clock.now()) ?? String(of(one) ?? "-")));
      const heads = shown.map(({ head = "" }) => head);
      screen.print(textTable(heads, rows, screen, (column, cell) => (column === "STATUS" ? stateColour(cell) : undefined)));
    },
  }),
};
