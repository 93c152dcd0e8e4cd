import { Fault } from "../../lib/fault.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { type ContainerOnWire, type EntityByKind, type EntityKind, type ImageOnWire, listEntities } from "../server/server-client.ts";
import { JSON_OPTION, selectServer, SERVER_OPTIONS } from "../server/server-command.ts";
import { formatAge, formatTable, stateColour } from "../terminal.ts";

type ContainerColumn = {
  key: string;
  head?: string;
  value(one: ContainerOnWire): string | number | boolean | null;
  cell?(one: ContainerOnWire, now: number): string;
};

/** The columns of a container: all in JSON, those with a head in the table. Variables are left out, since they may hold secrets. */
const CONTAINER_COLUMNS: readonly ContainerColumn[] = [
  { key: "name", head: "NAME", value: ({ name }) => name },
  { key: "status", head: "STATUS", value: ({ status }) => status, cell: ({ status, note }) => (note ? `${status} (${note})` : status) },
  { key: "note", value: ({ note }) => note ?? null },
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
const TABLE_COLUMNS = CONTAINER_COLUMNS.filter(({ head }) => head !== undefined);

export function containerJson(one: ContainerOnWire): Record<string, unknown> {
  return Object.fromEntries(CONTAINER_COLUMNS.map(({ key, value: of }) => [key, of(one)]));
}

export function imageJson({ id, name, status, version, imageRef, updatedOn, logs }: ImageOnWire): Record<string, unknown> {
  return { name, status, version: version ?? null, ref: imageRef ?? null, updatedOn: updatedOn ?? null, logs: logs ?? "", id };
}

/** `berth containers` */
export const CONTAINERS = listVerb("containers", {
  statuses: "started, stopped, error …",
  json: containerJson,
  heads: TABLE_COLUMNS.map(({ head = "" }) => head),
  cells: (one, now) => TABLE_COLUMNS.map(({ value: of, cell }) => cell?.(one, now) ?? String(of(one) ?? "-")),
});

/** `berth images` */
export const IMAGES = listVerb("images", {
  statuses: "ready, error …",
  json: imageJson,
  heads: ["NAME", "STATUS", "VERSION", "CHANGED", "IMAGE", "ID"],
  cells: ({ id, name, status, version, imageRef, updatedOn }, now) => {
    return [name, status, version || "-", formatAge(updatedOn, now), imageRef || "-", id.slice(0, 8)];
  },
});

function listVerb<K extends EntityKind>(
  kind: K,
  shows: {
    /** Examples for help. */
    statuses: string;
    json(one: EntityByKind[K]): Record<string, unknown>;
    heads: readonly string[];
    cells(one: EntityByKind[K], now: number): string[];
  },
): Verbs {
  const verb = defineVerb({
    words: "[<word>]",
    summary: `show ${kind} and their state, or those with a word in their names`,
    options: {
      ...SERVER_OPTIONS,
      ...JSON_OPTION,
      status: { value: "<beginning>", summary: `show only statuses that begin with this: ${shows.statuses}` },
    },
    completes: kind,
    run: async ({ context, words: [word], options, screen }) => {
      const all = await listEntities(selectServer(context, options), kind, word);
      const meant = all.filter(({ status }) => status.startsWith(options.status ?? "")).toSorted((a, b) => a.name.localeCompare(b.name));
      if (options.json) return screen.json(meant.map(shows.json));
      if (meant.length === 0) return screen.print(all.length === 0 && word === undefined ? `There are no ${kind}.` : "There are none.");
      const rows = meant.map((one) => shows.cells(one, context.clock.now()));
      screen.print(formatTable(shows.heads, rows, screen, (column, cell) => (column === "STATUS" ? stateColour(cell) : undefined)));
    },
  });
  return { "": verb };
}

type OrphanOnWire = { service: string; why: string; running: boolean; store: string; environment: string; container: string };

export const ORPHANS: Verbs = {
  /**
   * Removal needs a confirmation: only the administrator knows whether another berth on the same engine needs them.
   */
  "": defineVerb({
    words: "[<service>...]",
    summary: "list services with berth's labels that belong to no container in the store, or remove the named ones",
    options: {
      ...SERVER_OPTIONS,
      ...JSON_OPTION,
      remove: { summary: "stop and remove the named services" },
      all: { summary: "with --remove: all of them" },
      yes: { summary: "with --remove: remove them; without it only list them" },
    },
    run: async ({ context, words: services, options, screen }) => {
      const { remove = false, all = false, yes = false } = options;
      const isClear = remove ? all !== services.length > 0 : !all && !yes && services.length === 0;
      if (!isClear) throw new Fault("SETTINGS_INVALID", "Usage: berth orphans [--remove --all|<service>... [--yes]]");
      const { call } = selectServer(context, options);
      const existing = await call<OrphanOnWire[]>("GET", "/admin/orphans");
      const unknown = services.filter((service) => !existing.some((one) => one.service === service));
      if (unknown.length > 0) throw new Fault("SETTINGS_INVALID", `No orphan is named ${unknown.join(", ")}.`);
      const selected = all || !remove ? existing : existing.filter(({ service }) => services.includes(service));
      const removed = remove && yes ? selected : [];
      for (const { service } of removed) {
        await call("DELETE", `/admin/orphans?service=${encodeURIComponent(service)}`);
        if (!options.json) screen.print(`Removed ${service}.`);
      }
      if (options.json) return screen.json(selected.map((one) => ({ ...one, removed: removed.includes(one) })));
      if (selected.length === 0) return screen.print("There are no orphans.");
      if (removed.length > 0) return;
      screen.print(formatOrphans(selected));
      if (remove) screen.print(`\nNothing was removed. Add --yes to stop and remove ${selected.length === 1 ? "it" : `these ${selected.length}`}.`);
    },
  }),
};

function formatOrphans(orphans: OrphanOnWire[]): string {
  return orphans
    .map(({ service, why, running, ...labels }) =>
      [
        `${service} (${running ? "running" : "ended"}): ${why}`,
        ...(["store", "environment", "container"] as const).map((name) => `  berth.${name}=${labels[name]}`),
      ].join("\n"),
    )
    .join("\n");
}
