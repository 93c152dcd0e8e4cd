import { once } from "node:events";
import type { WebSocket } from "ws";
import { LONGEST_SHELL_MESSAGE, SHELL_STREAMS, type ShellReport, type ShellRequest } from "../../control/api/shell-protocol.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { defineVerb, Interrupted, type Verbs } from "../command.ts";
import { findByName } from "../server/server-client.ts";
import { selectServer, SERVER_OPTIONS } from "../server/server-command.ts";
import type { Screen } from "../terminal.ts";
import { parseReplica } from "./logs.ts";

/** Input that waits to be sent: more is read when the server has taken some. */
const MOST_UNSENT = 262_144;
const DRAIN_MS = 20;
/** The command's exit code is not known: as of a command that was killed. */
const UNKNOWN_CODE = 137;

/** `berth exec` */
export const verbs: Verbs = {
  "": defineVerb({
    words: "<container> [<command>...]",
    summary: "run a command in a running container, as docker exec does; without a command, a shell on this terminal",
    details:
      "The exit code is the command's. Options after the container are the command's own. Without -t, Ctrl-C ends the command and berth. The server must " +
      "have BERTH_SHELL=on.",
    options: {
      ...SERVER_OPTIONS,
      interactive: { short: "i", summary: "pass standard input on to the command" },
      tty: { short: "t", summary: "give the command a terminal" },
      replica: { value: "<number>", summary: "in this replica, of a container that has several; berth inspect lists them" },
    },
    completes: "containers",
    runsProgram: true,
    endsWithReader: true,
    run: async ({ context, words: [word = "", ...command], options, screen, signal }) => {
      const isShell = command.length === 0;
      const isInteractive = options.interactive === true || isShell;
      const hasTerminal = options.tty === true || (isShell && screen.input.isTTY);
      if (hasTerminal && isInteractive && !screen.input.isTTY)
        throw new Fault("SETTINGS_INVALID", "-t needs a terminal, and standard input is none: leave -t out.");
      const server = selectServer(context, options);
      const { id } = await findByName(server, "containers", word);
      const query = new URLSearchParams({ tty: String(hasTerminal), ...sizeOf(screen) });
      const replica = parseReplica(options.replica);
      if (replica !== undefined) query.set("replica", String(replica));
      for (const part of command) query.append("command", part);
      const socket = await server.openWebSocket(`/docker/containers/${id}/exec?${String(query)}`);
      const report = await runAtTerminal(socket, { screen, clock: context.clock, isInteractive, hasTerminal, signal });
      if ("exitCode" in report) return report.exitCode ?? UNKNOWN_CODE;
      throw new Fault("CONTROL_AWAY", report.reason);
    },
  }),
};

function sizeOf({ streams: { out } }: Screen): { columns: string; rows: string } {
  const side = (count: number | undefined, otherwise: number) => String(Math.min(1_000, Math.max(1, count || otherwise)));
  return { columns: side(out.columns, 80), rows: side(out.rows, 24) };
}

type ExecTerminal = { screen: Screen; clock: Clock; isInteractive: boolean; hasTerminal: boolean; signal: AbortSignal };

/** Connects this terminal with the command until that has ended. Rejects with the signal's reason. */
async function runAtTerminal(socket: WebSocket, { screen, clock, isInteractive, hasTerminal, signal }: ExecTerminal): Promise<ShellReport> {
  const { input, streams } = screen;
  const send = (request: ShellRequest) => socket.send(JSON.stringify(request), () => undefined);
  const resize = () => {
    const { columns, rows } = sizeOf(screen);
    send({ resize: { columns: Number(columns), rows: Number(rows) } });
  };
  let report: ShellReport = { reason: "The server closed the connection, and the command may still run." };
  socket.on("message", (data: Buffer, isBinary) => {
    if (!isBinary) return void (report = JSON.parse(data.toString()) as ShellReport);
    const to = data[0] === SHELL_STREAMS.stderr ? streams.err : streams.out;
    // A reader that is slow slows the command down.
    if (!to.write(data.subarray(1))) {
      socket.pause();
      to.once("drain", () => socket.resume());
    }
  });
  socket.on("error", () => undefined);
  const closed = once(socket, "close");
  const isRaw = hasTerminal && isInteractive;
  if (isRaw) input.setRawMode(true);
  if (hasTerminal) streams.out.on("resize", resize);
  const interrupt = () => socket.terminate();
  // With a terminal Ctrl-C is a key like any other.
  signal.addEventListener("abort", interrupt);
  if (isInteractive) sendInput(input, socket, clock).then(() => hasTerminal || send({ stdin: "ended" }), interrupt);
  else send({ stdin: "ended" });
  try {
    await closed;
    if (signal.aborted) throw signal.reason instanceof Error ? signal.reason : new Interrupted();
    return report;
  } finally {
    signal.removeEventListener("abort", interrupt);
    streams.out.off("resize", resize);
    if (isRaw) input.setRawMode(false);
    input.destroy();
  }
}

async function sendInput(input: NodeJS.ReadStream, socket: WebSocket, clock: Clock): Promise<void> {
  for await (const chunk of input as AsyncIterable<Buffer | string>) {
    const bytes = Buffer.from(chunk);
    for (let at = 0; at < bytes.length; at += LONGEST_SHELL_MESSAGE - 1) {
      if (socket.readyState !== socket.OPEN) return;
      socket.send(Buffer.concat([Buffer.of(SHELL_STREAMS.stdin), bytes.subarray(at, at + LONGEST_SHELL_MESSAGE - 1)]), () => undefined);
      while (socket.bufferedAmount > MOST_UNSENT && socket.readyState === socket.OPEN) await clock.sleep(DRAIN_MS);
    }
  }
}
