import { oneLine } from "./format.ts";
import type { Colour, Screen } from "./screen.ts";

/** Narrower than this, a column says nothing any more. */
const MIN_WIDTH = 6;
const GAP = "  ";

/**
 * Columns as wide as their widest cell. On a terminal a line is never longer than it: the widest columns are cut, and `paint` may colour
 * a cell by its column's head.
 */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  screen?: Pick<Screen, "width" | "paint">,
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

/** Takes from whatever is widest, one after the other, until all of it fits. */
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

/** Of the words for states, which tell themselves by how they begin. */
const BEGINNINGS: readonly (readonly [string, Colour])[] = [
  ["started", "green"],
  ["ready", "green"],
  ["error", "red"],
  ["stopped", "dim"],
  ["deleted", "dim"],
];

/** A passing state is yellow. */
export function stateColour(state: string): Colour {
  return BEGINNINGS.find(([beginning]) => state.startsWith(beginning))?.[1] ?? "yellow";
}
