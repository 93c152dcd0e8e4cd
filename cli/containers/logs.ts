import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { findByName, type ServerClient } from "../server/server-client.ts";
import { selectServer, SERVER_OPTIONS } from "../server/server-command.ts";
import { jsonText, openTerminalText, parseDuration, type Screen } from "../terminal.ts";
import { createSinceFilter } from "./log-filter.ts";

/** The server's limit. */
const MAX_LINES = 100_000;
const DEFAULT_LINES = 1_000;

export const verbs: Verbs = {
  "": defineVerb({
    words: "<container>",
    summary: "print the logs of a container, or the last logs of a stopped one",
    options: {
      ...SERVER_OPTIONS,
      follow: { short: "f", summary: "follow the logs until Ctrl-C" },
      tail: { short: "n", value: "<lines>", summary: `number of last lines to print (${DEFAULT_LINES})` },
      since: {
        value: "<time>",
        summary: "only lines since this time: 10m ago (10m), or a date such as 2026-11-30T08:00:00Z; needs an orchestrator that knows the times",
      },
      timestamps: { short: "t", summary: "print the time of each line, where the orchestrator knows it" },
      previous: { short: "p", summary: "print the last logs of the run before this one" },
      replica: { value: "<number>", summary: "of this replica, of a container that has several; berth inspect lists them" },
      json: { summary: "print each line as a JSON document" },
    },
    completes: "containers",
    endsWithReader: true,
    run: async ({ context, words: [word = ""], options, screen, signal }) => {
      const since = options.since === undefined ? undefined : parseSince(options.since, context.clock.now());
      if (since !== undefined && options.previous)
        throw new Fault("SETTINGS_INVALID", "--since and --previous exclude each other: berth keeps no times of the run before.");
      // The time decides, and not the number of lines.
      const tail = parseTail(options.tail ?? (since === undefined ? undefined : String(MAX_LINES)));
      const server = selectServer(context, options);
      const { id, name } = await findByName(server, "containers", word);
      const output = options.json ? lineByLine((line) => screen.print(jsonText({ container: name, line }))) : whole(screen);
      const write = since === undefined ? output : filtered(since, options.timestamps ?? false, output);
      const replica = parseReplica(options.replica);
      const query = `limit=${tail}${replica === undefined ? "" : `&replica=${replica}`}${options.timestamps || since !== undefined ? "&timestamps=true" : ""}${options.previous ? "&previous=true" : ""}`;
      if (options.follow && !options.previous)
        return followLogs({ server, id, tail, query, write: write.piece, clock: context.clock, signal }).finally(write.end);
      write.piece(await server.text(`/docker/containers/${id}/logs?${query}`));
      write.end();
    },
  }),
};

/** Of `--replica`. Faults: SETTINGS_INVALID. */
export function parseReplica(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new Fault("SETTINGS_INVALID", "--replica takes the number of a replica: 1, 2 and so on.");
}

/** Faults: SETTINGS_INVALID. */
function parseTail(text: string = String(DEFAULT_LINES)): number {
  const lines = Number(text);
  if (/^\d{1,6}$/.test(text) && lines >= 1 && lines <= MAX_LINES) return lines;
  throw new Fault("SETTINGS_INVALID", `--tail takes a number of lines from 1 to ${MAX_LINES}.`);
}

/** Epoch ms. Faults: SETTINGS_INVALID. */
function parseSince(text: string, now: number): number {
  const date = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(date)) return date;
  if (/^\d{1,6}[smhd]?$/.test(text)) return now - parseDuration("--since", text);
  throw new Fault(
    "SETTINGS_INVALID",
    `--since does not take ${JSON.stringify(text)}. Write how long ago, such as 10m or 2h, or a date such as 2026-11-30T08:00:00Z.`,
  );
}

function filtered(since: number, keepsTimes: boolean, output: LogOutput): LogOutput {
  const filter = createSinceFilter(since, keepsTimes, output.piece);
  return {
    piece: filter.piece,
    end: () => {
      filter.end();
      output.end();
    },
  };
}

type LogOutput = { piece(text: string): void; end(): void };

/** Ends with a line end, so that the prompt begins a new line. Unchanged but on a terminal. */
function whole({ write, width }: Pick<Screen, "write" | "width">): LogOutput {
  let last = "\n";
  const piece = (text: string) => {
    if (text === "") return;
    write(text);
    last = text.slice(-1);
  };
  const shown = width === undefined ? { piece, end: () => {} } : openTerminalText(piece);
  return {
    piece: shown.piece,
    end: () => {
      shown.end();
      if (last !== "\n") write("\n");
    },
  };
}

function lineByLine(print: (line: string) => void): LogOutput {
  let rest = "";
  const piece = (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) print(line);
  };
  return { piece, end: () => void (rest !== "" && print(rest)) };
}

const POLL_MS = 1_000;
/** Lines between two polls; more are skipped. */
const POLL_LINES = 5_000;

/**
 * Writes a container's last lines and its new ones, until the signal aborts or the server closes the response. Polls a server that sends the whole log
 * at once instead of following it.
 */
async function followLogs(source: {
  server: Pick<ServerClient, "stream" | "text">;
  id: string;
  tail: number;
  /** `tail` and what else is requested, as the server reads it. */
  query: string;
  write(text: string): void;
  clock: Clock;
  signal: AbortSignal;
}): Promise<void> {
  const { server, tail, query, write, clock, signal } = source;
  const at = `/docker/containers/${source.id}/logs`;
  const response = await server.stream(`${at}?follow=true&${query}`, signal);
  if (response.headers["content-length"] === undefined) {
    response.setEncoding("utf8");
    try {
      for await (const piece of response as AsyncIterable<string>) write(piece);
    } catch (cause) {
      signal.throwIfAborted();
      throw new Fault("CONTROL_AWAY", "The server closed the connection while logs were followed. Run the command again.", { cause });
    }
    return;
  }
  response.destroy();
  const loadText = () => server.text(`${at}?${query.replace(/^limit=\d+/, `limit=${POLL_LINES}`)}`);
  let previous = await loadText();
  write(lastLines(previous, tail));
  for (;;) {
    await clock.sleep(POLL_MS, signal);
    const text = await loadText();
    write(addedText(previous, text));
    previous = text;
  }
}

/** The new part of `text`: both are ends of one log; or `text` is the log of another run, and completely new. */
function addedText(previous: string, text: string): string {
  for (let at = 0; at < previous.length; at = previous.indexOf("\n", at) + 1) {
    if (text.startsWith(previous.slice(at))) return text.slice(previous.length - at);
    if (!previous.includes("\n", at)) break;
  }
  return text;
}

function lastLines(text: string, count: number): string {
  const lines = text.split("\n");
  const ended = lines.at(-1) === "" ? 1 : 0;
  return lines.slice(-(count + ended)).join("\n");
}
