import { Fault } from "../../lib/fault.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { findByName, type MoveOnWire } from "../server/server-client.ts";
import { JSON_OPTION, type SelectedServer, selectServer, SERVER_OPTIONS } from "../server/server-command.ts";
import { formatAge, formatDuration, formatTable, oneLine, type Screen, stateColour, wrapText } from "../terminal.ts";
import { containerJson } from "./list.ts";

const DEFAULT_MOVES = 10;
/** The column of facts, after their names. */
const INDENT = 14;

export const verbs: Verbs = {
  "": defineVerb({
    words: "<container>",
    summary: "explain why a container is in its state, and list its last transitions",
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, all: { summary: `list all recorded transitions, not only the last ${DEFAULT_MOVES}` } },
    completes: "containers",
    run: async ({ context, words: [word = ""], options, screen }) => {
      const server = selectServer(context, options);
      const container = await findByName(server, "containers", word);
      const explained = {
        ...(await loadExplanation(server, container.id, container.status)),
        warnings: publishWarnings(container.dockerfile?.logs ?? ""),
      };
      if (options.json) return screen.json({ ...containerJson(container), ...explained });
      const moves = options.all ? explained.transitions : explained.transitions.slice(-DEFAULT_MOVES);
      screen.print(formatExplanation(container.name, { ...explained, transitions: moves }, context.clock.now(), screen));
    },
  }),
};

/** The server's own explanation, else one from its history. */
async function loadExplanation(server: SelectedServer, id: string, status: string): Promise<Explanation> {
  const at = `/docker/containers/${id}`;
  const response = await server.call<Record<string, unknown>>("GET", `${at}/explain`).catch(undefinedIfMissing);
  if (response) return parseExplanation(response, status);
  return explainFromHistory((await server.call<MoveOnWire[]>("GET", `${at}/history`).catch(undefinedIfMissing)) ?? [], status);
}

function undefinedIfMissing(error: unknown): undefined {
  if (error instanceof Fault && error.status === 404) return undefined;
  throw error;
}

/** For the terminal. Unknown facts are left out. */
function formatExplanation(
  name: string,
  { state, why, next, keepsAwake, replicas, driver, listener, lastFailure, transitions, warnings }: Explanation & { warnings: readonly string[] },
  now: number,
  screen: Screen,
): string {
  const facts = [
    ["why", why],
    ...next.map(({ at, says }) => ["next", `${says}${timeUntil(at, now)}`] as const),
    ["awake for", keepsAwake],
    ["replicas", replicas],
    ["engine", driver],
    ["tcp", listener],
    ...warnings.map((warning) => ["warning", warning] as const),
    // A failure may be the reason itself.
    ["failed with", lastFailure && why?.startsWith(lastFailure.message) ? null : lastFailure?.message],
  ] as const;
  const lines = facts.flatMap(([what, fact]) => {
    if (!fact) return [];
    const [first = "", ...more] = wrapText(`${" ".repeat(INDENT)}${oneLine(fact)}`, INDENT, screen.width ?? Number.POSITIVE_INFINITY).split("\n");
    return [`  ${screen.paint("dim", what.padEnd(INDENT - 2))}${first.slice(INDENT)}`, ...more];
  });
  const tail = lastFailure?.logs
    .trimEnd()
    .split("\n")
    .map(oneLine)
    .join(`\n${" ".repeat(INDENT)}`);
  const logs = tail ? [`  ${screen.paint("dim", "log tail".padEnd(INDENT - 2))}${tail}`] : [];
  const rows = transitions.map(({ at, from, to, cause }) => [`  ${formatAge(at, now)} ago`, `${from} → ${to}`, cause ?? ""]);
  const table = rows.length === 0 ? [] : ["", formatTable(["  WHEN", "MOVE", "CAUSE"], rows, screen)];
  return [`${screen.paint("bold", name)} is ${screen.paint(stateColour(state), state)}`, ...lines, ...logs, ...table].join("\n");
}

/** What the server noted when the package was published and its images were validated; none for users who may not manage it. */
export function publishWarnings(logs: string): string[] {
  return linesOf(logs)
    .split("\n")
    .flatMap((line) => /^warning: (.*)$/.exec(line)?.[1] ?? []);
}

/** For events at a known time. */
function timeUntil(at: string, now: number): string {
  const then = Date.parse(at);
  return Number.isNaN(then) || then <= now ? "" : ` (in ${formatDuration(then - now)})`;
}

/** Why a container is in its state; null: unknown. */
export type Explanation = {
  state: string;
  why: string | null;
  /** What will happen next without a request, in order. */
  next: { at: string; says: string }[];
  keepsAwake: string | null;
  /** How many replicas it has, and why. */
  replicas: string | null;
  /** The status of the container engine. */
  driver: string | null;
  /** Its TCP listener. */
  listener: string | null;
  /** `code` is one of lib/fault.ts. */
  lastFailure: { code: string | null; message: string; logs: string } | null;
  transitions: { at: string; from: string; to: string; cause: string | null }[];
};

/** Events that a user causes. */
const REQUESTS = ["startWished", "stopWished"];

/** The meaning of each event of a history. */
const EVENTS: Readonly<Record<string, string>> = {
  startWished: "a start was requested",
  stopWished: "a stop was requested",
  idled: "no traffic for the minutes of its shutdown_timeout",
  expired: "it had run for its max_minutes",
  displaced: "it was idle, and another container needed its place",
  usedAfterAll: "a request used it during its stop",
  redefined: "its package was published again",
  startBegan: "its start began",
  answered: "it is ready",
  startFailed: "it did not start",
  foundRunning: "it was found running",
  lost: "it ended by itself; berth starts it again",
  lostAsleep: "it ended by itself; the next request starts it",
  doubted: "berth verifies its address",
  stopBegan: "its stop began",
  stoppedForUser: "it stopped, as requested",
  stoppedForSystem: "it stopped",
  timedOut: "it took too long",
};

/** From the last transitions, for a server without explanations. */
function explainFromHistory(moves: readonly MoveOnWire[], state: string): Explanation {
  const transitions = moves.map(({ time, from, to, event, by, login, cause }) => {
    const requester = by === "system" || !REQUESTS.includes(event) ? "" : ` by ${login ?? `user ${by.slice(0, 8)}`}`;
    return { at: time, from, to, cause: cause?.message ?? `${EVENTS[event] ?? event}${requester}` };
  });
  const failure = moves.findLast(({ cause }) => cause !== null)?.cause;
  return {
    state,
    why: transitions.at(-1)?.cause ?? null,
    next: [],
    keepsAwake: null,
    replicas: null,
    driver: null,
    listener: null,
    lastFailure: failure ? { code: failure.code, message: failure.message, logs: "" } : null,
    transitions,
  };
}

/** Reads the fields that are there; a server of another version has more or fewer. */
function parseExplanation(response: Record<string, unknown>, status: string): Explanation {
  const failure = recordOf(response["failure"]);
  const moves = listOf(response["history"]) as MoveOnWire[];
  return {
    ...explainFromHistory(moves, textOf(response["status"]) ?? status),
    why: textOf(response["why"]),
    next: listOf(response["next"]).flatMap((one) => {
      const says = textOf(one);
      return says === null ? [] : [{ at: textOf(recordOf(one)?.["time"]) ?? "", says }];
    }),
    keepsAwake: textOf(response["awake"]),
    replicas: textOf(response["replicas"]),
    driver: textOf(response["engine"]),
    listener: textOf(response["tcp"]),
    lastFailure: failure ? { code: textOf(failure["code"]), message: textOf(failure["message"]) ?? "", logs: linesOf(failure["logs"]) } : null,
  };
}

/** A text; of an object its sentence, of a list all sentences. */
function textOf(value: unknown): string | null {
  if (Array.isArray(value)) return value.flatMap((one: unknown) => textOf(one) ?? []).join(" ") || null;
  const sentence = recordOf(value)?.["says"] ?? value;
  return typeof sentence === "string" && sentence !== "" ? sentence : null;
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
