import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Server } from "../server/server-client.ts";

const LOOK_EVERY_MS = 1_000;
/** What may be written between two looks; more than that is passed over. */
const LOOK_LINES = 5_000;

/**
 * Writes a container's last lines and what it writes from then on, until the signal aborts, or the server ends it. A server that follows sends its answer in
 * pieces; another one has it whole, and is asked again and again.
 */
export async function followLogs(parts: {
  server: Pick<Server, "stream" | "text">;
  id: string;
  tail: number;
  write(text: string): void;
  clock: Clock;
  signal: AbortSignal;
}): Promise<void> {
  const { server, tail, write, clock, signal } = parts;
  const at = `/docker/containers/${parts.id}/logs`;
  const answer = await server.stream(`${at}?follow=true&limit=${tail}`, signal);
  if (answer.headers["content-length"] === undefined) {
    answer.setEncoding("utf8");
    try {
      for await (const piece of answer as AsyncIterable<string>) write(piece);
    } catch (cause) {
      signal.throwIfAborted();
      throw new Fault("CONTROL_AWAY", "The server broke off while its lines were followed.", { cause });
    }
    return;
  }
  answer.destroy();
  const look = () => server.text(`${at}?limit=${LOOK_LINES}`);
  let known = await look();
  write(lastLines(known, tail));
  for (;;) {
    await clock.sleep(LOOK_EVERY_MS, signal);
    const text = await look();
    write(newIn(known, text));
    known = text;
  }
}

/** What stands behind the part of a text that was known: both are the ends of one log, or the later one is of another run and new in all. */
function newIn(known: string, text: string): string {
  for (let at = 0; at < known.length; at = known.indexOf("\n", at) + 1) {
    if (text.startsWith(known.slice(at))) return text.slice(known.length - at);
    if (!known.includes("\n", at)) break;
  }
  return text;
}

function lastLines(text: string, count: number): string {
  const lines = text.split("\n");
  const ended = lines.at(-1) === "" ? 1 : 0;
  return lines.slice(-(count + ended)).join("\n");
}
