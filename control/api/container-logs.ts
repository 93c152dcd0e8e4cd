import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import type { ApiDeps } from "./api-deps.ts";

/** The default and the maximum. */
export const LOG_LINES = 10_000;
export const MOST_LOG_LINES = 100_000;

/** Longer logs lose their beginning: the end is more useful. */
const MOST_CHARACTERS = 8 * 1024 * 1024;

/** The last `tail` lines of a container. If it is not running, or its orchestrator is unreachable, the log tail of its last run. */
export async function containerLogs(driverLogs: ApiDeps["driverLogs"], container: Container, tail: number, signal: AbortSignal): Promise<string> {
  try {
    let text = "";
    for await (const piece of driverLogs(container.service, { tail }, signal)) {
      text += piece;
      if (text.length > 2 * MOST_CHARACTERS) text = text.slice(-MOST_CHARACTERS);
    }
    if (text !== "") return text.slice(-MOST_CHARACTERS);
  } catch (error) {
    if (!(error instanceof Fault) || container.lastLogs === "") throw error;
  }
  return lastLines(container.lastLogs, tail);
}

/** The same, and later lines, until the container ends. Of a container that is not running: only its log tail. */
export async function* followedLogs(
  driverLogs: ApiDeps["driverLogs"],
  container: Container,
  tail: number,
  signal: AbortSignal,
): AsyncGenerator<string> {
  let empty = true;
  try {
    for await (const piece of driverLogs(container.service, { tail, follow: true }, signal)) {
      empty = false;
      yield piece;
    }
  } catch (error) {
    if (signal.aborted) return;
    if (!empty || !(error instanceof Fault) || container.lastLogs === "") throw error;
  }
  if (empty) yield lastLines(container.lastLogs, tail);
}

function lastLines(text: string, count: number): string {
  const lines = text.split("\n");
  const ended = lines.at(-1) === "" ? 1 : 0;
  return lines.slice(-(count + ended)).join("\n");
}
