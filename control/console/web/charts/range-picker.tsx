import { useEffect, useRef } from "preact/hooks";
import type { SeriesRange } from "../../../api/schemas-series.ts";
import { type RequestState, useRequest } from "../api-client.ts";
import { useConsoleQuery } from "../location.ts";

/** Measurements are stored so often. */
const EVERY_MS = 10_000;
const RANGES: readonly { range: SeriesRange; title: string }[] = [
  { range: "15m", title: "15 min" },
  { range: "1h", title: "1 h" },
  { range: "24h", title: "24 h" },
  { range: "7d", title: "7 d" },
];

/** The range in the address; `1h` without one. */
export function useRange(): { range: SeriesRange; setRange(range: SeriesRange): void } {
  const query = useConsoleQuery();
  const range = RANGES.find((one) => one.range === query.value("range"))?.range ?? "1h";
  return { range, setRange: (chosen) => query.set({ range: chosen === "1h" ? "" : chosen }) };
}

export function RangePicker({ range, setRange }: ReturnType<typeof useRange>) {
  return (
    <div class="filter ranges" role="group" aria-label="Time range">
      {RANGES.map((one) => (
        <button key={one.range} type="button" aria-pressed={one.range === range} onClick={() => setRange(one.range)}>
          {one.title}
        </button>
      ))}
    </div>
  );
}

/** As `useRequest`. While another range loads, the last one stays. */
export function useMeasurements<T>(path: string): RequestState<T> & { isLoading: boolean } {
  const state = useRequest<T>(path, { everyMs: EVERY_MS });
  const before = useRef<T | undefined>(undefined);
  useEffect(() => {
    if (state.value !== undefined) before.current = state.value;
  }, [state.value]);
  return { ...state, value: state.value ?? before.current, isLoading: state.value === undefined };
}
