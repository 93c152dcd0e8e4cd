/** A line in lines of at most `width` columns, cut between words; those after the first begin with `indent` spaces, as the line itself may. */
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

/** Text that came from elsewhere as one line: what would end the line, or tell the terminal to do something, is a space. */
export function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, " ").trimEnd();
}
