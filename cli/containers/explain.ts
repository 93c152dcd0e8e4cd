import { Fault } from "../../lib/fault.ts";
import { type MoveOnWire, named } from "../server/find-entity.ts";
import { JSON_OPTION, type Chosen, SERVER_OPTIONS, serverOf } from "../server/server-command.ts";
import { ago, lasting, wrapped, oneLine } from "../terminal/text.ts";
import { stateColour, textTable } from "../terminal/text-table.ts";
import type { Screen } from "../terminal/screen.ts";
import { verb, type Verbs } from "../command.ts";
import { containerJson } from "./containers.ts";

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

/** Why a container is as it is, in words; null for what is not known. */
export type Explained = {
  state: string;
  why: string | null;
  /** What will happen to it by itself, the next first. */
  next: { at: string; says: string }[];
  keepsAwake: string | null;
  /** What the orchestrator says. */
  driver: string | null;
  /** `code`: of fault.ts, for programs to go by. */
  lastFailure: { code: string | null; message: string; logs: string } | null;
  transitions: { at: string; from: string; to: string; cause: string | null }[];
};

/** What the events of a history mean to a person. */
const EVENTS: Readonly<Record<string, string>> = {
  startWished: "it was wished to start",
  stopWished: "it was wished to stop",
  idled: "nobody used it for the minutes of its shutdown_timeout",
  usedAfterAll: "somebody used it after all",
  redefined: "its package was published anew",
  startBegan: "its start began",
  answered: "it answers",
  startFailed: "it did not start",
  foundRunning: "it was found running",
  lost: "it ended by itself, and is started again",
  lostAsleep: "it ended by itself, and the next request wakes it",
  doubted: "its address is looked at again",
  stopBegan: "its stop began",
  stoppedForUser: "it has stopped, as it was wished",
  stoppedForSystem: "it has stopped",
  timedOut: "it took too long",
};

/** Where the server explains nothing, its last move does. */
export function fromHistory(moves: readonly MoveOnWire[], state: string): Explained {
  const transitions = moves.map(({ time, from, to, event, by, login, cause }) => {
    const wished = by === "system" || !event.endsWith("Wished") ? "" : ` by ${login ?? `user ${by.slice(0, 8)}`}`;
    return { at: time, from, to, cause: cause?.message ?? `${EVENTS[event] ?? event}${wished}` };
  });
  const failure = moves.findLast(({ cause }) => cause !== null)?.cause;
  return {
    state,
    why: transitions.at(-1)?.cause ?? null,
    next: [],
    keepsAwake: null,
    driver: null,
    lastFailure: failure ? { code: failure.code, message: failure.message, logs: "" } : null,
    transitions,
  };
}

/** Of what a server tells, as much as can be read; a server of another version tells more, or less. */
export function fromExplanation(told: Record<string, unknown>, status: string): Explained {
  const failure = recordOf(told["failure"]);
  const moves = listOf(told["history"]) as MoveOnWire[];
  return {
    ...fromHistory(moves, wordsOf(told["status"]) ?? status),
    why: wordsOf(told["why"]),
    next: listOf(told["next"]).flatMap((one) => {
      const says = wordsOf(one);
      return says === null ? [] : [{ at: wordsOf(recordOf(one)?.["time"]) ?? "", says }];
    }),
    keepsAwake: wordsOf(told["awake"]),
    driver: wordsOf(told["engine"]),
    lastFailure: failure ? { code: wordsOf(failure["code"]), message: wordsOf(failure["message"]) ?? "", logs: linesOf(failure["logs"]) } : null,
  };
}

/** Text as it is; of an object the sentence that it has for people, of a list all of them. */
function wordsOf(value: unknown): string | null {
  if (Array.isArray(value)) return value.flatMap((one: unknown) => wordsOf(one) ?? []).join(" ") || null;
  const said = recordOf(value)?.["says"] ?? value;
  return typeof said === "string" && said !== "" ? said : null;
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function linesOf(value: unknown): string {
  return Array.isArray(value) ? value.map(String).join("\n") : typeof value === "string" ? value : "";
}

function recordOf(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
}
