import { named } from "../server/find-entity.ts";
import { SERVER_OPTIONS, serverOf } from "../server/server-command.ts";
import { verb, type Verbs } from "../verb.ts";
import { Fault } from "../../lib/fault.ts";
import { followLogs } from "./follow-logs.ts";

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
