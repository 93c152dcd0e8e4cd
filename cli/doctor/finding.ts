import { ADVICE } from "../../drivers/advice.ts";
import { Fault } from "../../lib/fault.ts";

/** What is not as it should be, and what to do. A warning is told, and leaves its link well. */
export type Problem = { what: string; todo: string; kind: "wrong" | "warning" };

/** What a look at a link found; `unlooked` says why there was none. */
export type Finding = { says: string; problems?: readonly Problem[] } | { unlooked: string };

export function wrong(what: string, todo: string): Problem {
  return { what, todo, kind: "wrong" };
}

export function warning(what: string, todo: string): Problem {
  return { what, todo, kind: "warning" };
}

const DRIVERS_ADVICE = new Map<string, { todo: string }>(Object.entries(ADVICE));

/** What a failed look means. A driver's fault says itself what to do; for others it is the link's `advice`. */
export function problemOf(error: unknown, advice: string): Problem {
  if (!(error instanceof Fault)) return wrong(`This look itself failed: ${error instanceof Error ? error.message : String(error)}.`, advice);
  const todo = DRIVERS_ADVICE.get(error.code)?.todo;
  const bare = todo !== undefined && error.message.endsWith(todo) ? error.message.slice(0, -todo.length).trimEnd() : error.message;
  return wrong(bare, bare === error.message || todo === undefined ? advice : todo);
}
