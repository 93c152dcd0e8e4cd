/** A line in lines of at most `width` columns, cut between words; those after the first begin with `indent` spaces, as the line itself may. */
export function wrapped(line: string, indent: number, width: number): string {
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
