import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import type { ChartLine, ChartProps, DrawChart } from "./chart-props.ts";

/** The library is loaded with the first chart. */
let loading: Promise<DrawChart> | undefined;
function loadDrawing(): Promise<DrawChart> {
  loading ??= import("./draw-chart.ts").then(({ drawChart }) => drawChart);
  loading.catch(() => (loading = undefined));
  return loading;
}

/** A chart over time. Its height is reserved before anything is loaded, so that nothing moves. With the arrow keys the legend shows the values of other times. */
export function Chart(props: ChartProps) {
  const { title, time, lines, format, empty } = props;
  const place = useRef<HTMLDivElement>(null);
  const legend = useRef<HTMLUListElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const [index, setIndex] = useState<number>();
  const [isFailed, setIsFailed] = useState(false);
  const theme = useTheme();
  const isEmpty = !lines.some(({ look, values }) => look !== "reserved" && values.some((value) => value !== null && value > 0));
  const shape = `${theme} ${isEmpty} ${lines.map(({ label, look }) => label + look).join()} ${time.length}`;
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    if (isEmpty) return undefined;
    let isGone = false;
    setIsFailed(false);
    loadDrawing().then(
      (draw) => {
        if (isGone || !place.current || !legend.current) return;
        const colors = [...legend.current.querySelectorAll("i")].map((mark) => getComputedStyle(mark).color);
        plot.current = draw(place.current, { ...latest.current, colors, onIndex: setIndex });
      },
      () => isGone || setIsFailed(true),
    );
    return () => {
      isGone = true;
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData([[...time], ...lines.map(({ values }) => [...values])]), [time, lines]);

  const last = time.length - 1;
  const at = index ?? last;
  const moveCursor = (event: KeyboardEvent) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -time.length, End: time.length }[event.key];
    if (step === undefined || !plot.current) return;
    event.preventDefault();
    const to = Math.min(last, Math.max(0, at + step));
    plot.current.setCursor({ left: plot.current.valToPos(time[to] ?? 0, "x"), top: 0 });
  };
  return (
    <figure class="chart">
      <figcaption>
        <h2>{title}</h2>
        <time class="quiet">{index === undefined || isEmpty ? "" : timeText(time[index] ?? 0)}</time>
      </figcaption>
      {isEmpty ? (
        <p class="plot quiet">{empty}</p>
      ) : (
        <div
          class="plot"
          ref={place}
          role="img"
          aria-label={`${title}: ${lines.map((line) => summaryOf(line, format)).join("; ")}`}
          tabIndex={0}
          onKeyDown={moveCursor}
          onBlur={() => plot.current?.setCursor({ left: -10, top: -10 })}
        >
          {isFailed ? <p class="quiet">The chart could not be loaded.</p> : null}
        </div>
      )}
      <ul class="chart-legend" ref={legend}>
        {lines.map(({ label, look, values }) => (
          <li key={label}>
            <i class={look} /> {label} <b>{isEmpty && look !== "reserved" ? "–" : valueText(values[at], format)}</b>
          </li>
        ))}
      </ul>
    </figure>
  );
}

function valueText(value: number | null | undefined, format: (value: number) => string): string {
  return value === null || value === undefined ? "–" : format(value);
}

function summaryOf({ label, values }: ChartLine, format: (value: number) => string): string {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return `${label} unknown`;
  return `${label} ${valueText(values.at(-1), format)} now, ${format(Math.max(...known))} at most`;
}

function timeText(seconds: number): string {
  return new Date(seconds * 1_000).toLocaleString([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

function useTheme(): string {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const [isDark, setIsDark] = useState(dark.matches);
  useEffect(() => {
    const changed = () => setIsDark(dark.matches);
    dark.addEventListener("change", changed);
    return () => dark.removeEventListener("change", changed);
  }, []);
  return isDark ? "dark" : "light";
}
