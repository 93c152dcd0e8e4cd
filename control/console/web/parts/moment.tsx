import { useEffect, useState } from "preact/hooks";

const UNITS: readonly { unit: Intl.RelativeTimeFormatUnit; ms: number }[] = [
  { unit: "day", ms: 86_400_000 },
  { unit: "hour", ms: 3_600_000 },
  { unit: "minute", ms: 60_000 },
  { unit: "second", ms: 1_000 },
];
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** `5 minutes ago`, or `5 minutes` if it is `bare`, with the exact time as a tooltip. */
export function Moment({ at, bare = false }: { at: string | null | undefined; bare?: boolean }) {
  const now = useNow();
  if (at === null || at === undefined) return <span class="quiet">never</span>;
  const time = new Date(at);
  return (
    <time dateTime={at} title={time.toLocaleString()}>
      {bare ? spanOf(Math.max(0, now - time.getTime())) : relative(time.getTime() - now)}
    </time>
  );
}

/** Milliseconds in a readable unit: `340 ms`, `1.2 s`, `3 min`. */
export function spanOf(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  return ms < 3_600_000 ? `${Math.round(ms / 60_000)} min` : `${(ms / 3_600_000).toFixed(1)} h`;
}

function relative(ms: number): string {
  const { unit, ms: size } = UNITS.find((one) => Math.abs(ms) >= one.ms) ?? { unit: "second" as const, ms: 1_000 };
  return RELATIVE.format(Math.trunc(ms / size), unit);
}

function useNow(): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
