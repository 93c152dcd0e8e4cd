/** Of one folder. Its author reads a handful; each is stored with the image and sent in every answer about it. */
export const MAX_WARNINGS = 20;
const MAX_WARNING_CHARACTERS = 500;

/** At most `most` warnings, each cut to 500 characters; the last line counts those left out. */
export function capWarnings(warnings: readonly string[], most = MAX_WARNINGS): string[] {
  const kept = warnings
    .slice(0, most)
    .map((warning) => (warning.length > MAX_WARNING_CHARACTERS ? `${warning.slice(0, MAX_WARNING_CHARACTERS)}…` : warning));
  const left = warnings.length - kept.length;
  return left > 0 ? [...kept, `And ${left} more.`] : kept;
}
