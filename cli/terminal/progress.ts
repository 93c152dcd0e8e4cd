import type { Clock } from "../../lib/clock.ts";
import type { Screen } from "./screen.ts";
import { formatDuration } from "./format.ts";

/** One line that says what is waited for, written over again while a person watches; for programs there is none. */
export type ProgressLine = {
  /** `part` of 1 draws a bar; without it something turns. */
  update(text: string, part?: number): void;
  /** Takes the line away, for what is printed next. Called once at the end in any case. */
  close(): void;
};

const SPINNER_FRAMES = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const FRAME_MS = 100;
const BAR_WIDTH = 24;
/** Back to the line's beginning, and all that stands there away. */
const CLEAR_LINE = "\r\u001b[K";

export function openProgressLine(screen: Pick<Screen, "isInteractive" | "redraw" | "interactiveWidth">, clock: Clock): ProgressLine {
  if (!screen.isInteractive) return { update: () => undefined, close: () => undefined };
  const begun = clock.monotonic();
  let now: { text: string; part: number | undefined } | undefined;
  let cancel: (() => void) | undefined;
  let turn = 0;
  const draw = () => {
    if (now === undefined) return;
    const since = formatDuration(clock.monotonic() - begun);
    const lead = now.part === undefined ? (SPINNER_FRAMES[turn++ % SPINNER_FRAMES.length] ?? "") : bar(now.part);
    const available = screen.interactiveWidth - lead.length - since.length - 3;
    screen.redraw(`${CLEAR_LINE}${lead} ${now.text.slice(0, available)} ${since}`);
    cancel = clock.after(FRAME_MS, draw);
  };
  return {
    update: (text, part) => {
      const isFirst = now === undefined;
      now = { text, part };
      if (isFirst) draw();
    },
    close: () => {
      cancel?.();
      if (now !== undefined) screen.redraw(CLEAR_LINE);
      now = undefined;
    },
  };
}

function bar(part: number): string {
  const full = Math.round(Math.min(1, Math.max(0, part)) * BAR_WIDTH);
  return `[${"#".repeat(full)}${".".repeat(BAR_WIDTH - full)}] ${String(Math.round(part * 100)).padStart(3)}%`;
}
