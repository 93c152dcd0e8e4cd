import { formatAge } from "../terminal/format.ts";
import { stateColour, formatTable } from "../terminal/text-table.ts";
import { type ContainerOnWire, listEntities } from "../server/find-entity.ts";
import { JSON_OPTION, SERVER_OPTIONS, selectServer } from "../server/server-command.ts";
import { defineVerb, type Verbs } from "../command.ts";

type ContainerColumn = {
  key: string;
  head?: string;
  value(one: ContainerOnWire): string | number | boolean | null;
  cell?(one: ContainerOnWire, now: number): string;
};

/** The columns of a container: all in JSON, those with a head in the table. Variables are left out, since they may hold secrets. */
export const CONTAINER_COLUMNS: readonly ContainerColumn[] = [
  { key: "name", head: "NAME", value: ({ name }) => name },
  { key: "status", head: "STATUS", value: ({ status }) => status },
  { key: "lastActive", head: "USED", value: ({ lastActive }) => lastActive ?? null, cell: ({ lastActive }, now) => formatAge(lastActive, now) },
  { key: "image", head: "IMAGE", value: ({ dockerImage, dockerfile }) => dockerImage ?? dockerfile?.imageRef ?? null },
  { key: "imageStatus", value: ({ dockerfile }) => dockerfile?.status ?? null },
  { key: "onDemand", head: "WAKES", value: ({ config }) => config?.on_demand ?? null, cell: ({ config }) => (config?.on_demand ? "yes" : "no") },
  { key: "idleMinutes", value: ({ config }) => config?.shutdown_timeout ?? null },
  { key: "address", value: ({ address }) => address ?? null },
  { key: "port", value: ({ port }) => port ?? null },
  { key: "service", value: ({ serviceName }) => serviceName ?? null },
  { key: "id", head: "ID", value: ({ id }) => id, cell: ({ id }) => id.slice(0, 8) },
];

export function containerJson(one: ContainerOnWire): Record<string, unknown> {
  return Object.fromEntries(CONTAINER_COLUMNS.map(({ key, value: of }) => [key, of(one)]));
}

export const verbs: Verbs = {
  "": defineVerb({
    words: "[<word>]",
    summary: "show containers and their state, or those with a word in their names",
    options: {
      ...SERVER_OPTIONS,
      ...JSON_OPTION,
      status: { value: "<beginning>", summary: "show only statuses that begin with this: started, stopped, error …" },
    },
    completes: "containers",
    run: async ({ context, words: [word], options, screen }) => {
      const all = await listEntities(selectServer(context, options), "containers", word);
      const meant = all.filter(({ status }) => status.startsWith(options.status ?? "")).toSorted((a, b) => a.name.localeCompare(b.name));
      if (options.json) return screen.json(meant.map(containerJson));
      if (meant.length === 0) return screen.print(all.length === 0 && word === undefined ? "There are no containers." : "There are none.");
      const shown = CONTAINER_COLUMNS.filter(({ head }) => head !== undefined);
      const rows = meant.map((one) => shown.map(({ value: of, cell }) => cell?.(one, context.clock.now()) ?? String(of(one) ?? "-")));
      const heads = shown.map(({ head = "" }) => head);
      screen.print(formatTable(heads, rows, screen, (column, cell) => (column === "STATUS" ? stateColour(cell) : undefined)));
    },
  }),
};
