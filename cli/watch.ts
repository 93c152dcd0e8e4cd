import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Screen } from "./terminal.ts";
import { sliceColumns } from "./text-width.ts";

/** xterm's: to the first line, and the rest of a line or of the screen away. */
const HOME = "\u001b[H";
const CLEAR_LINE = "\u001b[K";
const CLEAR_REST = "\u001b[J";

/**
 * Shows a text again and again until the signal aborts: on a terminal in place, cut to its height, elsewhere as a new block when it changed. The server may come
 * back after a failure, and the last text is still of use: `text` may fail with CONTROL_AWAY after the first time. Faults: those of `text`.
 */
export async function watchText(of: { text(): Promise<string>; everyMs: number; screen: Screen; clock: Clock; signal: AbortSignal }): Promise<void> {
  const { everyMs, screen, clock, signal } = of;
  let last = await of.text();
  let printed: string | undefined;
  for (let trouble = ""; ;) {
    if (screen.width !== undefined) {
      const lines = [...(trouble === "" ? [] : [screen.paint("yellow", sliceColumns(trouble, screen.width))]), ...last.split("\n")].slice(
        0,
        screen.height - 1,
      );
      screen.write(HOME + lines.map((line) => `${line}${CLEAR_LINE}\n`).join("") + CLEAR_REST);
    } else if (last !== printed) screen.print(printed === undefined ? last : `\n${last}`);
    printed = last;
    await clock.sleep(everyMs, signal);
    trouble = "";
    last = await of.text().catch((error: unknown) => {
      if (!(error instanceof Fault) || error.code !== "CONTROL_AWAY") throw error;
      trouble = error.message;
      return last;
    });
  }
}
