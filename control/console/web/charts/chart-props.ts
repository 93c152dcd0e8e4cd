import type uPlot from "uplot";

/** `look` is a class of charts.css with the colour. `reserved` is drawn as a dashed line. */
export type ChartLine = { label: string; look: "main" | "second" | "bad" | "reserved"; values: readonly (number | null)[] };

export type ChartProps = {
  title: string;
  /** Seconds since 1970; each line has as many values. */
  time: readonly number[];
  lines: readonly ChartLine[];
  /** A value with its unit, for the axis and the legend. */
  format(value: number): string;
  /** Columns instead of lines: for counts. */
  columns?: true;
  /** The steps of the axis: powers of two for bytes, whole numbers for counts. */
  steps?: "binary" | "whole";
  /** In place of a chart where no line has a value but 0. */
  empty: string;
};

type Drawing = Pick<ChartProps, "time" | "lines" | "format" | "columns" | "steps"> & {
  /** Of the lines, as the page's theme has them now. */
  colors: readonly string[];
  /** Called with the point under the pointer; undefined: none. */
  onIndex(index: number | undefined): void;
};

/** The caller destroys it. */
export type DrawChart = (place: HTMLElement, drawing: Drawing) => uPlot;
