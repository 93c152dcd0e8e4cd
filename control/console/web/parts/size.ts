const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Bytes as people say them: `3.4 MiB`. */
export function sizeOf(bytes: number): string {
  const step = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  return `${step === 0 ? bytes : (bytes / 1024 ** step).toFixed(1)} ${UNITS[step]}`;
}
