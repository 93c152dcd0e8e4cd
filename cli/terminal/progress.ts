import type { Clock } from "../../lib/clock.ts";
import type { Screen } from "./screen.ts";
import { lasting } from "./text.ts";

/** One line that says what is waited for, written over again while a person watches; for programs there is none. */
export type Progress = {
  /** `part` of 1 draws a bar; without it something turns. */
  says(text: string, part?: number): void;
  /** Takes the line away, for what is printed next. Called once at the end in any case. */
  clear(): void;
};

const TURNS = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const TURN_MS = 100;
const BAR = 24;
/** Back to the line's beginning, and all that stands there away. */
const AGAIN = "\r\u001b[K";

export function openProgress(screen: Pick<Screen, "isWatched" | "redraw" | "watchedWidth">, clock: Clock): Progress {
  if (!screen.isWatched) return { says: () => undefined, clear: () => undefined };
  const begun = clock.monotonic();
  let now: { text: string; part: number | undefined } | undefined;
  let cancel: (() => void) | undefined;
  let turn = 0;
  const draw = () => {
    if (now === undefined) return;
    const since = lasting(clock.monotonic() - begun);
    const lead = now.part === undefined ? (TURNS[turn++ % TURNS.length] ?? "") : bar(now.part);
    const room = screen.watchedWidth - lead.length - since.length - 3;
    screen.redraw(`${AGAIN}${lead} ${now.text.slice(0, room)} ${since}`);
    cancel = clock.after(TURN_MS, draw);
  };
  return {
    says: (text, part) => {
      const isFirst = now === undefined;
      now = { text, part };
      if (isFirst) draw();
    },
    clear: () => {
      cancel?.();
      if (now !== undefined) screen.redraw(AGAIN);
      now = undefined;
    },
  };
}

function bar(part: number): string {
  const full = Math.round(Math.min(1, Math.max(0, part)) * BAR);
  return `[${"#".repeat(full)}${".".repeat(BAR - full)}] ${String(Math.round(part * 100)).padStart(3)}%`;
}
