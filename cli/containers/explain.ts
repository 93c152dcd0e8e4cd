import { Fault } from "../../lib/fault.ts";
import type { MoveOnWire } from "../server/entities.ts";
import { named } from "../server/find-entity.ts";
import { JSON_OPTION, type Chosen, SERVER_OPTIONS, serverOf } from "../server/server-command.ts";
import { ago, lasting } from "../terminal/ago.ts";
import { oneLine } from "../terminal/one-line.ts";
import { stateColour } from "../terminal/state-colour.ts";
import { textTable } from "../terminal/text-table.ts";
import type { Screen } from "../terminal/screen.ts";
import { wrapped } from "../terminal/text.ts";
import { verb, type Verbs } from "../verb.ts";
import { containerJson } from "./containers.ts";
import { type Explained, fromExplanation, fromHistory } from "./explained.ts";

const USUAL_MOVES = 10;
/** Where facts begin, behind what they are about. */
const INDENT = 14;

export const verbs: Verbs = {
  "": verb({
    words: "<container>",
    says: "say why a container is as it is, and what it did last",
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, all: { says: `all of its moves that are known, not only the last ${USUAL_MOVES}` } },
    completes: "containers",
    run: async ({ here, words: [word = ""], given, screen }) => {
      const server = serverOf(here, given);
      const container = await named(server, "containers", word);
      const explained = await explanationOf(server, container.id, container.status);
      if (given.json) return screen.json({ ...containerJson(container), ...explained });
      const moves = given.all ? explained.transitions : explained.transitions.slice(-USUAL_MOVES);
      screen.print(page(container.name, { ...explained, transitions: moves }, here.clock.now(), screen));
    },
  }),
};

/** As the server itself explains it, else from what it remembers. */
async function explanationOf(server: Chosen, id: string, status: string): Promise<Explained> {
  const at = `/docker/containers/${id}`;
  const told = await server.call<Record<string, unknown>>("GET", `${at}/explain`).catch(ifNoRoute);
  if (told) return fromExplanation(told, status);
  return fromHistory((await server.call<MoveOnWire[]>("GET", `${at}/history`).catch(ifNoRoute)) ?? [], status);
}

function ifNoRoute(error: unknown): undefined {
  if (error instanceof Fault && error.status === 404) return undefined;
  throw error;
}

/** For people: what is not known is left out. */
function page(name: string, { state, why, next, keepsAwake, driver, lastFailure, transitions }: Explained, now: number, screen: Screen): string {
  const facts = [
    ["why", why],
    ...next.map(({ at, says }) => ["next", `${says}${coming(at, now)}`] as const),
    ["awake for", keepsAwake],
    ["engine", driver],
    // Of one that failed just now, that is why.
    ["failed with", lastFailure?.message === why ? null : lastFailure?.message],
  ] as const;
  const lines = facts.flatMap(([what, fact]) => {
    if (!fact) return [];
    const [first = "", ...more] = wrapped(`${" ".repeat(INDENT)}${oneLine(fact)}`, INDENT, screen.width ?? Number.POSITIVE_INFINITY).split("\n");
    return [`  ${screen.paint("dim", what.padEnd(INDENT - 2))}${first.slice(INDENT)}`, ...more];
  });
  const logs = lastFailure?.logs ? [lastFailure.logs.trimEnd().replaceAll(/^/gm, " ".repeat(INDENT))] : [];
  const rows = transitions.map(({ at, from, to, cause }) => [`  ${ago(at, now)} ago`, `${from} → ${to}`, cause ?? ""]);
  const table = rows.length === 0 ? [] : ["", textTable(["  WHEN", "MOVE", "CAUSE"], rows, screen)];
  return [`${screen.paint("bold", name)} is ${screen.paint(stateColour(state), state)}`, ...lines, ...logs, ...table].join("\n");
}

/** Behind what comes by itself. */
function coming(at: string, now: number): string {
  const then = Date.parse(at);
  return Number.isNaN(then) || then <= now ? "" : ` (in ${lasting(then - now)})`;
}
