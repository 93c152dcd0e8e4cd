import { Fault } from "../../lib/fault.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { type ContainerOnWire, listEntities, type MoveOnWire, type ServerClient } from "../server/server-client.ts";
import { JSON_OPTION, selectServer, SERVER_OPTIONS } from "../server/server-command.ts";
import { formatAge, formatTable, type Screen, stateColour } from "../terminal.ts";
import { watchText } from "../watch.ts";
import { containerJson } from "./list.ts";

const DEFAULT_SECONDS = 2;
const MAX_SECONDS = 3_600;

export const verbs: Verbs = {
  "": defineVerb({
    words: "[<word>]",
    summary: "watch what containers do, running ones first, until Ctrl-C; without a terminal, or with --json, print it once",
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, every: { value: "<seconds>", summary: `seconds between two tables (${DEFAULT_SECONDS})` } },
    endsWithReader: true,
    run: async ({ context, words: [word], options, screen, signal }) => {
      const everyMs = parseSeconds(options.every) * 1_000;
      const { clock } = context;
      const load = createActivityReader(selectServer(context, options), word);
      const first = await load();
      if (options.json) return screen.json(first.map(topJson));
      if (screen.width === undefined) return screen.print(table(first, clock.now(), screen));
      let isFirst = true;
      const text = async () => {
        const shown = isFirst ? first : await load();
        isFirst = false;
        return [screen.paint("bold", heading(shown).slice(0, screen.width)), "", table(shown, clock.now(), screen)].join("\n");
      };
      return watchText({ text, everyMs, screen, clock, signal });
    },
  }),
};

/** Faults: SETTINGS_INVALID. */
function parseSeconds(text: string = String(DEFAULT_SECONDS)): number {
  const seconds = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && seconds >= 0.2 && seconds <= MAX_SECONDS) return seconds;
  throw new Fault("SETTINGS_INVALID", `--every takes seconds from 0.2 to ${MAX_SECONDS}.`);
}

function heading(all: readonly ContainerActivity[]): string {
  const counts = new Map<string, number>();
  for (const { status } of all) counts.set(status, (counts.get(status) ?? 0) + 1);
  const counted = [...counts].map(([status, count]) => `${count} ${status}`).join(", ");
  return `${all.length} ${all.length === 1 ? "container" : "containers"}${counted && `: ${counted}`}`;
}

/** CPU and memory are limits; `berth stats` has the use. */
function table(all: readonly ContainerActivity[], now: number, screen: Screen): string {
  const rows = all.map(({ name, status, since, open, lastActive, config, address, port }) => [
    name,
    status,
    formatAge(since, now),
    open === null ? "-" : String(open),
    formatAge(lastActive, now),
    config?.cpu === undefined ? "-" : `≤ ${config.cpu}`,
    config?.memory === undefined ? "-" : `≤ ${config.memory} MB`,
    address ? `${address}:${port}` : "-",
  ]);
  const heads = ["NAME", "STATUS", "SINCE", "OPEN", "USED", "CPU", "MEMORY", "ADDRESS"];
  return formatTable(heads, rows, screen, (column, cell) => (column === "STATUS" ? stateColour(cell) : undefined));
}

function topJson({ since, open, ...one }: ContainerActivity): Record<string, unknown> {
  return { ...containerJson(one), since, open, cpuLimit: one.config?.cpu ?? null, memoryLimitMb: one.config?.memory ?? null };
}

/** A container with more than its list has; null: unknown, or it is stopped. */
type ContainerActivity = ContainerOnWire & { since: string | null; open: number | null };

/** Containers with requests of their own; more do not fit on a screen. */
const MAX_REQUESTED = 50;

/** Loads the containers, running ones first. A route that a server lacks is not requested again. Faults: those of the calls. */
function createActivityReader(server: Pick<ServerClient, "call">, word: string | undefined): () => Promise<ContainerActivity[]> {
  const unknown = new Set<string>();
  const lastStates = new Map<string, { status: string; since: string | null }>();

  const ask = async <T>(id: string, question: string): Promise<T | undefined> => {
    if (unknown.has(question)) return undefined;
    try {
      return await server.call<T>("GET", `/docker/containers/${id}/${question}`);
    } catch (error) {
      if (!(error instanceof Fault) || ![403, 404].includes(error.status)) throw error;
      // A berth answers another code where only the container is missing.
      if (error.code === "ROUTE_NOT_FOUND" || error.code === "ENTITY_NOT_FOUND") unknown.add(question);
      return undefined;
    }
  };

  const sinceOf = async ({ id, status }: ContainerOnWire): Promise<string | null> => {
    const before = lastStates.get(id);
    if (before?.status === status) return before.since;
    const since = (await ask<MoveOnWire[]>(id, "history"))?.at(-1)?.time ?? null;
    lastStates.set(id, { status, since });
    return since;
  };

  const openOf = async ({ id, status }: ContainerOnWire): Promise<number | null> => {
    if (isStopped(status)) return null;
    const open = await ask<{ count: number }[]>(id, "open");
    return open?.reduce((sum, { count }) => sum + count, 0) ?? null;
  };

  return async () => {
    const all = (await listEntities(server, "containers", word)).toSorted(
      (a, b) => Number(isStopped(a.status)) - Number(isStopped(b.status)) || a.name.localeCompare(b.name),
    );
    return Promise.all(
      all.map(async (one, at) => {
        if (at >= MAX_REQUESTED) return { ...one, since: null, open: null };
        const [since, open] = await Promise.all([sinceOf(one), openOf(one)]);
        return { ...one, since, open };
      }),
    );
  };
}

function isStopped(status: string): boolean {
  return status.startsWith("stopped");
}
