import type { Log } from "../../lib/log.ts";

/** A line that is no JSON is a panic or a mistake in its start; longer ones are cut. */
const LONGEST_LINE = 4_096;

/** What each of its lines says anew, or our own line does. */
const LEFT_OUT = ["time", "level", "msg", "go.version", "instance.id", "version", "environment", "service"];

/**
 * Passes a line of Distribution's log on at its own level. What it says of each single request is for debugging: a blob that a client asks
 * for before pushing it is an error to Distribution, and whoever asked got the answer.
 */
export function passOn(line: string, log: Log): void {
  const said = readLine(line);
  if (!said) return log.warn({}, line.slice(0, LONGEST_LINE));
  const { level, msg } = said;
  const fields = Object.fromEntries(Object.entries(said).filter(([name]) => !LEFT_OUT.includes(name)));
  const sentence = String(msg).slice(0, LONGEST_LINE);
  if (isOrdinary(said)) return log.debug(fields, sentence);
  if (level === "error" || level === "fatal" || level === "panic") return log.error(fields, sentence);
  if (level === "warning" || level === "warn") return log.warn(fields, sentence);
  if (level === "info") return log.info(fields, sentence);
  log.debug(fields, sentence);
}

function isOrdinary(said: Record<string, unknown>): boolean {
  if (said["http.request.method"] === undefined) return false;
  const status = said["http.response.status"];
  // Of a failure of its own it says the status; without one the line is about what the client sent.
  return typeof status !== "number" || status < 500;
}

function readLine(line: string): Record<string, unknown> | undefined {
  try {
    const said: unknown = JSON.parse(line);
    return typeof said === "object" && said !== null && "msg" in said ? said : undefined;
  } catch {
    return undefined;
  }
}
