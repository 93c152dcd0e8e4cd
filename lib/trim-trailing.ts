/** `text` without the `characters` at its end, in one pass: `/x+$/` starts again at each x, which takes quadratic time on many of them. */
export function trimTrailing(text: string, characters: string): string {
  let end = text.length;
  while (end > 0 && characters.includes(text[end - 1] ?? "")) end--;
  return text.slice(0, end);
}
