import uPlot from "uplot";
import type { ChartProps, DrawChart } from "./chart-props.ts";

const HEIGHT = 160;
const AXIS_WIDTH = 68;
const AXIS_HEIGHT = 30;
const STEPS = {
  binary: Array.from({ length: 50 }, (_, power) => 2 ** power),
  whole: Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat(),
} as const satisfies Record<NonNullable<ChartProps["steps"]>, number[]>;
const DASH = [6, 4];

/** All charts of a page show the same moment. */
const shared = uPlot.sync("time");

export const drawChart: DrawChart = (place, { time, lines, format, columns, steps, colors, onIndex }) => {
  const style = getComputedStyle(place);
  const [ink, grid] = [style.color, style.borderTopColor];
  const bars = uPlot.paths.bars?.({ size: [0.8, 24], align: 1 });
  const axis: uPlot.Axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: `12px ${style.fontFamily}` };
  const plot = new uPlot(
    {
      width: place.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      padding: [8, 18, 0, 0],
      cursor: { sync: { key: shared.key }, drag: { x: false, y: false }, points: { size: 6 }, y: false },
      scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
      axes: [
        { ...axis, size: AXIS_HEIGHT, space: 72, values: (_, ticks, __, ___, step) => ticks.map((at) => tickText(at, step)) },
        {
          ...axis,
          size: AXIS_WIDTH,
          ...(steps === undefined ? {} : { incrs: STEPS[steps] }),
          space: 36,
          values: (_, ticks) => ticks.map((value) => format(value)),
        },
      ],
      series: [
        {},
        ...lines.map(({ label, look }, index): uPlot.Series => {
          const stroke = colors[index] ?? ink;
          if (columns && bars) return { label, stroke, fill: stroke, width: 0, paths: bars, points: { show: false } };
          const area = look === "main" ? { fill: stroke.replace(/^rgb\((.*)\)$/, "rgba($1, 0.15)") } : {};
          return {
            label,
            stroke,
            width: 1.5,
            points: { show: true, size: 4, fill: stroke, filter: loneIndexes },
            ...area,
            ...(look === "reserved" ? { dash: DASH } : {}),
          };
        }),
      ],
      hooks: { setCursor: [({ cursor }) => onIndex(cursor.idx ?? undefined)] },
    },
    [[...time], ...lines.map(({ values }) => [...values])],
    place,
  );
  const resize = new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: HEIGHT }));
  resize.observe(place);
  shared.sub(plot);
  plot.hooks.destroy = [
    () => {
      resize.disconnect();
      shared.unsub(plot);
    },
  ];
  return plot;
};

/** Values without a neighbour, which a line does not show. */
const loneIndexes: uPlot.Series.Points.Filter = ({ data }, series) => {
  const values = data[series] ?? [];
  const isMissing = (index: number) => (values[index] ?? null) === null;
  return [...values.keys()].filter((index) => !isMissing(index) && isMissing(index - 1) && isMissing(index + 1));
};

const MINUTE = 60;
const HALF_DAY = 12 * 3_600;

/** `step`: seconds between two ticks. */
function tickText(at: number, step: number): string {
  const time = new Date(at * 1_000);
  if (step >= HALF_DAY) return time.toLocaleDateString([], { month: "short", day: "numeric" });
  // As in the logs. With AM and PM, the last one does not fit.
  return time.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...(step < MINUTE ? { second: "2-digit" } : {}) });
}
