#!/usr/bin/env node
/** The root that everything is composed from: the only file that reads the environment. What commands there are stands in cli/table.ts. */
import { isSea } from "node:sea";
import { systemClock } from "./lib/clock.ts";
import { exitCodeOf, Interrupted } from "./cli/command.ts";
import { runCommand } from "./cli/run-command.ts";
import { oneLine } from "./cli/terminal/format.ts";
import { createScreen } from "./cli/terminal/screen.ts";
import { Fault } from "./lib/fault.ts";
import { findParent } from "./processes/parent.ts";
import { HANDOVER_NAME } from "./processes/handover.ts";

// Who reads what is printed may have had enough of it, as `head` has.
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(0);
  });

/** The first Ctrl-C, or word to end, is for the command to deal with; the next one ends the program at once. */
const interrupted = () => {
  const pressed = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, () => pressed.abort(new Interrupted()));
  return pressed.signal;
};

/** Ends the program once both streams have taken all that was written. A pipe holds 64 KiB; `process.exit` alone loses what is still in memory. */
async function exit(code: number): Promise<never> {
  const flush = (stream: NodeJS.WriteStream) => new Promise<void>((done) => stream.write("", () => done()));
  await Promise.all([flush(process.stdout), flush(process.stderr)]);
  process.exit(code);
}

/**
 * A function, so that the whole file is on nobody's stack: where it is, V8 reads it again for the first stack that anybody asks for, and pino asks for
 * one. Of the single executable, 7 MB, that is 100 ms in each process.
 */
async function main(): Promise<void> {
  // The process that hands over to this one is not its parent: it ends before.
  const parent = process.env[HANDOVER_NAME] === undefined ? findParent() : undefined;
  try {
    const { env, argv } = process;
    const script = isSea() ? undefined : import.meta.filename;
    const context = { env, args: argv.slice(2), script, parent, clock: systemClock() };
    await exit((await runCommand(context, { screen: createScreen(process), interrupted })) ?? 0);
  } catch (error) {
    // What is expected to go wrong is one sentence; anything else is a bug, with its trace.
    if (error instanceof Fault) {
      if (parent) await parent.fault(error);
      else {
        for (const line of error.message.split("\n")) console.error(`berth: ${oneLine(line)}`);
        for (const line of error.logs ?? []) console.error(`  ${oneLine(line)}`);
      }
    } else if (!(error instanceof Interrupted)) console.error(error);
    await exit(exitCodeOf(error));
  }
}

void main();
