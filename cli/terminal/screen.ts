import { styleText } from "node:util";
import type { Clock } from "../../lib/clock.ts";
import { type Colour, formatDuration } from "./format.ts";

/** Where a command writes: results go to standard output, messages to standard error. */
export type Screen = {
  /** Standard input. */
  input: NodeJS.ReadStream;
  /** Columns of standard output; undefined if it is no terminal, so that nothing is cut. */
  width: number | undefined;
  /** Its rows. */
  height: number;
  /** Standard error is a terminal. */
  isInteractive: boolean;
  interactiveWidth: number;
  print(text: string): void;
  /** `print` without an end of line. */
  write(text: string): void;
  note(sentence: string): void;
  /** Writes to standard error, for lines that are overwritten. */
  redraw(text: string): void;
  json(value: unknown): void;
  /** Only if standard output is a terminal and NO_COLOR is not set. */
  paint(colour: Colour, text: string): string;
};

const DEFAULT_WIDTH = 80;
const DEFAULT_HEIGHT = 24;

export function createScreen({ stdin: input, stdout: out, stderr: err }: Pick<NodeJS.Process, "stdin" | "stdout" | "stderr">): Screen {
  return {
    input,
    get width() {
      return out.isTTY ? out.columns || DEFAULT_WIDTH : undefined;
    },
    get height() {
      return out.rows || DEFAULT_HEIGHT;
    },
    isInteractive: err.isTTY,
    get interactiveWidth() {
      return err.columns || DEFAULT_WIDTH;
    },
    print: (text) => void out.write(`${text}\n`),
    write: (text) => void out.write(text),
    note: (sentence) => void err.write(`${sentence}\n`),
    redraw: (text) => void err.write(text),
    json: (value) => void out.write(`${JSON.stringify(value, undefined, 2)}\n`),
    paint: (colour, text) => styleText(colour, text, { stream: out }),
  };
}

/** One line on a terminal that says what the command waits for. Elsewhere it prints nothing. */
export type ProgressLine = {
  /** `part`, from 0 to 1, draws a bar; without it a spinner turns. */
  update(text: string, part?: number): void;
  /** Removes the line before other output. Call it at the end in any case. */
  close(): void;
};

const SPINNER_FRAMES = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const FRAME_MS = 100;
const BAR_WIDTH = 24;
/** To the beginning of the line, and clear it. */
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
