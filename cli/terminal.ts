import { styleText } from "node:util";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import { sliceColumns, textWidth } from "./text-width.ts";

/** Where a command writes: results go to standard output, messages to standard error. */
export type Screen = {
  /** Standard input. */
  input: NodeJS.ReadStream;
  /** Standard output and error, for bytes of another program. */
  streams: { out: NodeJS.WriteStream; err: NodeJS.WriteStream };
  /** Columns of standard output; undefined if it is no terminal, so that nothing is cut. */
  width: number | undefined;
  /** Its rows. */
  height: number;
  /** Standard error is a terminal. */
  isInteractive: boolean;
  interactiveWidth: number;
  /** To a terminal as `terminalText`, as `note`. */
  print(text: string): void;
  /** Unchanged, and without an end of line. */
  write(text: string): void;
  note(sentence: string): void;
  /** Writes to standard error, for lines that are overwritten. */
  redraw(text: string): void;
  json(value: unknown): void;
  /** Only if standard output is a terminal and NO_COLOR is not set. */
  paint(colour: Colour, text: string): string;
};

export type Colour = "green" | "red" | "yellow" | "cyan" | "dim" | "bold";

/** Wraps a line to `width` columns between words. Lines after the first begin with `indent` spaces; the line itself may begin with spaces. */
export function wrapText(line: string, indent: number, width: number): string {
  const [lead = ""] = /^ */.exec(line) ?? [];
  const lines: string[] = [];
  let last = lead;
  let columns = lead.length;
  let isFirst = true;
  for (const word of line.slice(lead.length).split(" ")) {
    const added = textWidth(word);
    if (!isFirst && columns + 1 + added > width) {
      lines.push(last);
      last = " ".repeat(indent) + word;
      columns = indent + added;
    } else {
      last += isFirst ? word : ` ${word}`;
      columns += added + (isFirst ? 0 : 1);
    }
    isFirst = last.trim() === "";
  }
  return [...lines, last].join("\n");
}

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
] as const;

/** How long ago a moment was, in its largest unit: `12m`; `-` for none. */
export function formatAge(moment: string | null | undefined, now: number): string {
  const at = Date.parse(moment ?? "");
  return Number.isNaN(at) ? "-" : formatDuration(now - at);
}

export function formatDuration(ms: number): string {
  const [unit, size] = UNITS.find(([, size]) => ms >= size) ?? ["s", 1_000];
  return `${Math.max(0, Math.floor(ms / size))}${unit}`;
}

/** `30s`, `10m`, `2h`, `1d` as ms. `option` is for the message. Faults: SETTINGS_INVALID. */
export function parseDuration(option: string, text: string): number {
  const [, count = "", letter = "s"] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const unit = UNITS.find(([name]) => name === letter)?.[1];
  if (count !== "" && unit !== undefined) return Number(count) * unit;
  throw new Fault("SETTINGS_INVALID", `${option} does not take ${JSON.stringify(text)}. Write a number and a unit, such as 30s, 10m, 2h or 1d.`);
}

/** Foreign text as one line: control characters become spaces, so that none reaches the terminal. */
export function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, " ").trimEnd();
}

/**
 * What a terminal gets of printed text: of its control characters only line ends, tabs and colours. A container could set the terminal's title, answer for
 * its user, or overwrite what was printed. A carriage return, as of a progress bar, begins a new line.
 */
function terminalText(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what it looks for
  return text.replaceAll(/(\u001b\[[\d;]*m)|\r\n?|[^\P{Cc}\n\t]/gu, (found, colour?: string) => colour ?? (found.startsWith("\r") ? "\n" : ""));
}

/** `terminalText` for text that comes in pieces: a sequence may begin in one, and end in the next. */
export function openTerminalText(write: (text: string) => void): { piece(text: string): void; end(): void } {
  let rest = "";
  return {
    piece: (text) => {
      const whole = rest + text;
      // eslint-disable-next-line no-control-regex -- control characters are what it looks for
      rest = /(?:\u001b(?:\[[\d;]{0,30})?|\r)$/.exec(whole)?.[0] ?? "";
      write(terminalText(whole.slice(0, whole.length - rest.length)));
    },
    end: () => write(terminalText(rest)),
  };
}

/** JSON without any control character, which is the same value to a program. */
export function jsonText(value: unknown, indent?: number): string {
  // JSON.stringify leaves those from DEL on.
  return JSON.stringify(value, undefined, indent).replaceAll(/[\u007f-\u009f]/g, (one) => `\\u00${one.charCodeAt(0).toString(16)}`);
}

const MIN_WIDTH = 6;
const GAP = "  ";

/**
 * Columns as wide as their widest cell. On a terminal no line is longer than its width: the widest columns are cut. `paint` may colour a cell by
 * its column.
 */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  screen?: { width: number | undefined; paint(colour: Colour, text: string): string },
  paint?: (column: string, cell: string) => Colour | undefined,
): string {
  const all = [head, ...rows.map((row) => row.map(oneLine))];
  const widths = fitWidths(
    head.map((_, at) => Math.max(...all.map((row) => textWidth(row[at] ?? "")))),
    screen?.width,
  );
  const last = head.length - 1;
  const line = (row: readonly string[], isHead: boolean) =>
    row
      .map((cell, at) => {
        const width = widths[at] ?? 0;
        const cut = textWidth(cell) > width ? `${sliceColumns(cell, width - 1)}…` : cell;
        const colour = isHead ? "dim" : paint?.(head[at] ?? "", cell);
        const painted = screen && colour ? screen.paint(colour, cut) : cut;
        return at === last ? painted : painted + " ".repeat(width - textWidth(cut));
      })
      .join(GAP)
      .trimEnd();
  return all.map((row, at) => line(row, at === 0)).join("\n");
}

/** Narrows the widest column again and again until the line fits. */
function fitWidths(widths: number[], available: number | undefined): number[] {
  if (available === undefined) return widths;
  let over = widths.reduce((sum, width) => sum + width, 0) + GAP.length * (widths.length - 1) - available;
  while (over > 0) {
    const widest = widths.indexOf(Math.max(...widths));
    if ((widths[widest] ?? 0) <= MIN_WIDTH) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
    over--;
  }
  return widths;
}

/** By the beginning of a state. */
const STATE_COLOURS: readonly (readonly [string, Colour])[] = [
  ["started", "green"],
  ["ready", "green"],
  ["error", "red"],
  ["stopped", "dim"],
  ["deleted", "dim"],
];

/** A transient state is yellow. */
export function stateColour(state: string): Colour {
  return STATE_COLOURS.find(([beginning]) => state.startsWith(beginning))?.[1] ?? "yellow";
}

const DEFAULT_WIDTH = 80;
const DEFAULT_HEIGHT = 24;

export function createScreen({ stdin: input, stdout: out, stderr: err }: Pick<NodeJS.Process, "stdin" | "stdout" | "stderr">): Screen {
  return {
    input,
    streams: { out, err },
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
    print: (text) => void out.write(`${out.isTTY ? terminalText(text) : text}\n`),
    write: (text) => void out.write(text),
    note: (sentence) => void err.write(`${err.isTTY ? terminalText(sentence) : sentence}\n`),
    redraw: (text) => void err.write(text),
    json: (value) => void out.write(`${jsonText(value, 2)}\n`),
    paint: (colour, text) => styleText(colour, text, { stream: out }),
  };
}

/** One line on a terminal that names what the command waits for. Elsewhere it prints nothing. */
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
    screen.redraw(`${CLEAR_LINE}${lead} ${sliceColumns(oneLine(now.text), available)} ${since}`);
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
