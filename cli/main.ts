import { systemClock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import { HANDOVER_NAME } from "../processes/handover.ts";
import { findParent } from "../processes/parent.ts";
import { exitCodeOf, Interrupted } from "./command.ts";
import { runCommand } from "./run-command.ts";
import { createScreen } from "./terminal/screen.ts";
import { oneLine } from "./terminal/format.ts";

/** Runs a command line, and ends the process with its exit code. `script` is berth's own file; undefined in the single executable. */
export async function main({ env, args, script }: { env: NodeJS.ProcessEnv; args: string[]; script: string | undefined }): Promise<void> {
  // A reader such as `head` closes the pipe before the end.
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
      process.exit(0);
    });
  // The process that hands over to this one is not its parent: it ends before.
  const parent = env[HANDOVER_NAME] === undefined ? findParent() : undefined;
  try {
    const context = { env, args, script, parent, clock: systemClock() };
    await exit((await runCommand(context, { screen: createScreen(process), interrupted })) ?? 0);
  } catch (error) {
    // An expected failure is one sentence; any other error is a bug, with its trace.
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

/** The command handles the first Ctrl-C or SIGTERM; the next one ends the program at once. */
function interrupted(): AbortSignal {
  const pressed = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, () => pressed.abort(new Interrupted()));
  return pressed.signal;
}

/** Ends the program once both streams have taken all that was written. A pipe holds 64 KiB; `process.exit` alone loses what is still in memory. */
async function exit(code: number): Promise<never> {
  const flush = (stream: NodeJS.WriteStream) => new Promise<void>((done) => stream.write("", () => done()));
  await Promise.all([flush(process.stdout), flush(process.stderr)]);
  process.exit(code);
}
