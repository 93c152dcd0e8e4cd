export type Colour = "green" | "red" | "yellow" | "cyan" | "dim" | "bold";

/** Wraps a line to `width` columns between words. Lines after the first begin with `indent` spaces; the line itself may begin with spaces. */
export function wrapText(line: string, indent: number, width: number): string {
  const [lead = ""] = /^ */.exec(line) ?? [];
  const lines: string[] = [];
  let last = lead;
  for (const word of line.slice(lead.length).split(" ")) {
    const isFirst = last.trim() === "";
    if (!isFirst && last.length + 1 + word.length > width) {
      lines.push(last);
      last = " ".repeat(indent) + word;
    } else last += isFirst ? word : ` ${word}`;
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

/** Foreign text as one line: control characters become spaces, so that none reaches the terminal. */
export function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, " ").trimEnd();
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
    head.map((_, at) => Math.max(...all.map((row) => row[at]?.length ?? 0))),
    screen?.width,
  );
  const last = head.length - 1;
  const line = (row: readonly string[], isHead: boolean) =>
    row
      .map((cell, at) => {
        const width = widths[at] ?? 0;
        const cut = cell.length > width ? `${cell.slice(0, width - 1)}…` : cell;
        const colour = isHead ? "dim" : paint?.(head[at] ?? "", cell);
        const painted = screen && colour ? screen.paint(colour, cut) : cut;
        return at === last ? painted : painted + " ".repeat(width - cut.length);
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
