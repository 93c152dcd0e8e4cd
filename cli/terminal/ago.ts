const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
] as const;

/** How long ago a moment was, in its largest unit: `12m`; `-` for none. */
export function ago(moment: string | null | undefined, now: number): string {
  const at = Date.parse(moment ?? "");
  return Number.isNaN(at) ? "-" : lasting(now - at);
}

export function lasting(ms: number): string {
  const [unit, size] = UNITS.find(([, size]) => ms >= size) ?? ["s", 1_000];
  return `${Math.max(0, Math.floor(ms / size))}${unit}`;
}
