/**
 * A character of two columns: https://www.unicode.org/reports/tr11/ (W and F), or an emoji. Scripts are given as the blocks that are reserved for them.
 * Of a sequence, such as a letter with its marks or a family of emoji, the first character counts.
 */
const WIDE =
  /^(?:[\u1100-\u115f\u2329\u232a\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6b\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18dff}\u{1aff0}-\u{1b2fb}\u{1f200}-\u{1f265}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|.\ufe0f)/u;
const ONLY_MARKS = /^[\p{Mn}\p{Me}\p{Cf}]+$/u;
// eslint-disable-next-line no-control-regex -- the common case: each is one column
const PLAIN = /^[\u0000-\u00ff]*$/;

/** Created for the first such text: that takes 20 ms, and most commands print none. */
let segmenter: Intl.Segmenter | undefined;

function charactersOf(text: string): string[] {
  segmenter ??= new Intl.Segmenter("en");
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

function columnsOf(character: string): number {
  if (WIDE.test(character)) return 2;
  return ONLY_MARKS.test(character) ? 0 : 1;
}

/** How many columns of a terminal a line takes. It has no colours. */
export function textWidth(line: string): number {
  if (PLAIN.test(line)) return line.length;
  return charactersOf(line).reduce((sum, character) => sum + columnsOf(character), 0);
}

/** The beginning of a line that takes at most so many columns. */
export function sliceColumns(line: string, columns: number): string {
  if (PLAIN.test(line)) return line.slice(0, columns);
  let taken = 0;
  let start = "";
  for (const character of charactersOf(line)) {
    taken += columnsOf(character);
    if (taken > columns) break;
    start += character;
  }
  return start;
}
