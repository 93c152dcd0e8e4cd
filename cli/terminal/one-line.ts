/** Text that came from elsewhere as one line: what would end the line, or tell the terminal to do something, is a space. */
export function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, " ").trimEnd();
}
