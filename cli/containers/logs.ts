import { named } from "../server/find-entity.ts";
import { SERVER_OPTIONS, serverOf } from "../server/server-command.ts";
import { verb, type Verbs } from "../command.ts";
import { Fault } from "../../lib/fault.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Server } from "../server/server-client.ts";

/** The most that a server gives. */
const MOST_LINES = 100_000;
const USUAL_LINES = 1_000;

export const verbs: Verbs = {
  "": verb({
    words: "<container>",
    says: "print what a container wrote, or where it is stopped, what it last wrote",
    options: {
      ...SERVER_OPTIONS,
      follow: { short: "f", says: "go on with what it writes, until Ctrl-C" },
      tail: { short: "n", takes: "<lines>", says: `so many of its last lines (${USUAL_LINES})` },
      json: { says: "a JSON document in place of each line" },
    },
    completes: "containers",
    run: async ({ here, words: [word = ""], given, screen, signal }) => {
      const tail = readTail(given.tail);
      const server = serverOf(here, given);
      const { id, name } = await named(server, "containers", word);
      const write = given.json ? lineByLine((line) => screen.print(JSON.stringify({ container: name, line }))) : whole(screen.write);
      if (given.follow) return followLogs({ server, id, tail, write: write.piece, clock: here.clock, signal }).finally(write.end);
      write.piece(await server.text(`/docker/containers/${id}/logs?limit=${tail}`));
      write.end();
    },
  }),
};

/** Faults: SETTINGS_INVALID. */
function readTail(text: string = String(USUAL_LINES)): number {
  const lines = Number(text);
  if (/^\d{1,6}$/.test(text) && lines >= 1 && lines <= MOST_LINES) return lines;
  throw new Fault("SETTINGS_INVALID", `--tail takes a number of lines from 1 to ${MOST_LINES}.`);
}

type Written = { piece(text: string): void; end(): void };

/** As it comes; a prompt that follows begins a line of its own. */
function whole(write: (text: string) => void): Written {
  let last = "\n";
  const piece = (text: string) => {
    if (text === "") return;
    write(text);
    last = text.slice(-1);
  };
  return { piece, end: () => void (last !== "\n" && write("\n")) };
}

function lineByLine(print: (line: string) => void): Written {
  let rest = "";
  const piece = (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) print(line);
  };
  return { piece, end: () => void (rest !== "" && print(rest)) };
}

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
