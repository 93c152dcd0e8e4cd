import { Fault } from "../../lib/fault.ts";
import { CONTAINER_WIRE_STATES, IMAGE_WIRE_STATES } from "../../control/model/states.ts";
import { suggestion } from "../../conf/suggestion.ts";
import { type CommandVerb, defineVerb } from "../command.ts";
import { type ContainerOnWire, type EntityByKind, type EntityKind, type ImageOnWire, listEntities } from "../server/server-client.ts";
import { JSON_OPTION, selectServer, SERVER_OPTIONS } from "../server/server-command.ts";
import { formatAge, formatTable, type Screen, stateColour } from "../terminal.ts";
import { watchText } from "../watch.ts";

/** All columns are in JSON and can be filtered; those with a head are in the table, `wide` ones only with `-o wide`. */
type ListColumn<T> = {
  key: string;
  head?: string;
  wide?: true;
  value(one: T): string | number | boolean | null;
  cell?(one: T, now: number): string;
};

/** Variables are left out, since they may hold secrets. */
const CONTAINER_COLUMNS: readonly ListColumn<ContainerOnWire>[] = [
  { key: "name", head: "NAME", value: ({ name }) => name },
  { key: "status", head: "STATUS", value: ({ status }) => status, cell: ({ status, note }) => (note ? `${status} (${note})` : status) },
  { key: "note", value: ({ note }) => note ?? null },
  { key: "lastActive", head: "USED", value: ({ lastActive }) => lastActive ?? null, cell: ({ lastActive }, now) => formatAge(lastActive, now) },
  { key: "image", head: "IMAGE", value: ({ dockerImage, dockerfile }) => dockerImage ?? dockerfile?.imageRef ?? null },
  { key: "imageStatus", value: ({ dockerfile }) => dockerfile?.status ?? null },
  { key: "onDemand", head: "WAKES", value: ({ config }) => config?.on_demand ?? null, cell: ({ config }) => (config?.on_demand ? "yes" : "no") },
  { key: "idleMinutes", value: ({ config }) => config?.shutdown_timeout ?? null },
  { key: "address", head: "ADDRESS", wide: true, value: ({ address }) => address ?? null },
  { key: "port", head: "PORT", wide: true, value: ({ port }) => port ?? null },
  { key: "service", head: "SERVICE", wide: true, value: ({ serviceName }) => serviceName ?? null },
  { key: "id", head: "ID", value: ({ id }) => id, cell: ({ id }) => id.slice(0, 8) },
];

const IMAGE_COLUMNS: readonly ListColumn<ImageOnWire>[] = [
  { key: "name", head: "NAME", value: ({ name }) => name },
  { key: "status", head: "STATUS", value: ({ status }) => status },
  { key: "version", head: "VERSION", value: ({ version }) => version ?? null, cell: ({ version }) => version || "-" },
  { key: "ref", head: "IMAGE", value: ({ imageRef }) => imageRef ?? null, cell: ({ imageRef }) => imageRef || "-" },
  { key: "updatedOn", head: "CHANGED", value: ({ updatedOn }) => updatedOn ?? null, cell: ({ updatedOn }, now) => formatAge(updatedOn, now) },
  { key: "logs", value: ({ logs }) => logs ?? "" },
  { key: "id", head: "ID", value: ({ id }) => id, cell: ({ id }) => id.slice(0, 8) },
];

function jsonOf<T>(columns: readonly ListColumn<T>[], one: T): Record<string, unknown> {
  return Object.fromEntries(columns.map(({ key, value: of }) => [key, of(one)]));
}

export function containerJson(one: ContainerOnWire): Record<string, unknown> {
  return jsonOf(CONTAINER_COLUMNS, one);
}

export function imageJson(one: ImageOnWire): Record<string, unknown> {
  return jsonOf(IMAGE_COLUMNS, one);
}

const LISTS: { [K in EntityKind]: { columns: readonly ListColumn<EntityByKind[K]>[]; statuses: readonly string[] } } = {
  containers: { columns: CONTAINER_COLUMNS, statuses: Object.values(CONTAINER_WIRE_STATES) },
  images: { columns: IMAGE_COLUMNS, statuses: Object.values(IMAGE_WIRE_STATES) },
};

/** The time between two queries of `--watch`. */
const WATCH_MS = 2_000;

/** `berth containers` and `berth images` */
export function listVerb<K extends EntityKind>(kind: K): CommandVerb {
  const { columns, statuses } = LISTS[kind];
  return defineVerb({
    words: "[<word>]",
    summary: `list ${kind} and their state, or those with a word in their names`,
    details: `Statuses: ${statuses.join(", ")}.\nFields of --filter: ${columns.map(({ key }) => key).join(", ")}.`,
    options: {
      ...SERVER_OPTIONS,
      ...JSON_OPTION,
      output: { ...JSON_OPTION.output, summary: "print json, yaml, a wide table, or only names", completes: ["json", "yaml", "wide", "name"] },
      quiet: { short: "q", summary: "print only ids" },
      watch: { short: "w", summary: "print the list again when it changes, until Ctrl-C" },
      filter: {
        value: "<field=text>",
        repeatable: true,
        summary: "list only those whose field begins with this text; several filters must all match",
      },
      status: { value: "<beginning>", summary: "the same as --filter status=<beginning>" },
    },
    completes: kind,
    endsWithReader: true,
    run: async ({ context, words: [word], options, screen, signal }) => {
      if (options.watch && options.json) throw new Fault("SETTINGS_INVALID", "--watch prints text: leave --json and -o json or yaml out.");
      const filters = parseFilters(
        [...(options.filter ?? []), ...(options.status === undefined ? [] : [`status=${options.status}`])],
        columns,
        statuses,
      );
      const server = selectServer(context, options);
      const load = async () => {
        const all = await listEntities(server, kind, word);
        const matches = all.filter((one) => filters.every((filter) => filter(one)));
        return { all, listed: matches.toSorted((a, b) => a.name.localeCompare(b.name)) };
      };
      const format = ({ all, listed }: Awaited<ReturnType<typeof load>>) => {
        if (options.quiet) return listed.map(({ id }) => id).join("\n");
        if (options.output === "name") return listed.map(({ name }) => name).join("\n");
        if (listed.length === 0) return all.length === 0 && word === undefined ? `There are no ${kind}.` : "There are none.";
        return formatList(columns, listed, { isWide: options.output === "wide", now: context.clock.now(), screen });
      };
      if (options.watch) return watchText({ text: async () => format(await load()), everyMs: WATCH_MS, screen, clock: context.clock, signal });
      const loaded = await load();
      if (options.json) return screen.json(loaded.listed.map((one) => jsonOf(columns, one)));
      const text = format(loaded);
      if (text !== "") screen.print(text);
    },
  });
}

function formatList<T>(
  columns: readonly ListColumn<T>[],
  rows: readonly T[],
  { isWide, now, screen }: { isWide: boolean; now: number; screen: Screen },
) {
  const shown = columns.filter(({ head, wide = false }) => head !== undefined && (isWide || !wide));
  const cells = rows.map((one) => shown.map(({ value: of, cell }) => cell?.(one, now) ?? String(of(one) ?? "-")));
  // A wide table is for reading everything: nothing is cut.
  const target = isWide ? { width: undefined, paint: screen.paint } : screen;
  return formatTable(
    shown.map(({ head = "" }) => head),
    cells,
    target,
    (column, cell) => (column === "STATUS" ? stateColour(cell) : undefined),
  );
}

/** Faults: SETTINGS_INVALID for a field or a status that does not exist. */
function parseFilters<T>(filters: readonly string[], columns: readonly ListColumn<T>[], statuses: readonly string[]): ((one: T) => boolean)[] {
  const keys = columns.map(({ key }) => key);
  return filters.map((filter) => {
    const at = filter.indexOf("=");
    const key = filter.slice(0, Math.max(0, at));
    const beginning = filter.slice(at + 1).toLowerCase();
    const column = columns.find((one) => one.key === key);
    if (!column)
      throw new Fault(
        "SETTINGS_INVALID",
        `--filter does not take ${JSON.stringify(filter)}${suggestion(key, keys)}. Write <field>=<text>, with one of the fields ${keys.join(", ")}.`,
      );
    if (key === "status" && !statuses.some((status) => status.startsWith(beginning)))
      throw new Fault(
        "SETTINGS_INVALID",
        `No status begins with ${JSON.stringify(beginning)}${suggestion(beginning, statuses)}. Allowed: ${statuses.join(", ")}.`,
      );
    return (one) =>
      String(column.value(one) ?? "")
        .toLowerCase()
        .startsWith(beginning);
  });
}
