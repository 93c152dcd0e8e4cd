/**
 * Text of a log for pages and error messages, which have no terminal: without colours and other escape sequences and control characters. A carriage return, as
 * of a progress bar, begins a new line.
 */
export function plainLogText(text: string): string {
  return text.replaceAll(ESCAPES, (found) => (found.startsWith("\r") ? "\n" : ""));
}

/** Control sequences, commands of the operating system such as titles, other escapes; then control characters. ECMA-48 §5.4. */
// eslint-disable-next-line no-control-regex -- control characters are what it looks for
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b\n]*(?:\u0007|\u001b\\)|[ -/]*[0-~])|\r\n?|[^\P{Cc}\n\t]/gu;
