import { sizeOf, spanOf } from "../parts/display.tsx";

/** Up to three digits: `0.25`, `12.5`, `1.2 k`. */
export function countText(value: number): string {
  if (value >= 1e6) return `${threeDigits(value / 1e6)} M`;
  return value >= 1e4 ? `${threeDigits(value / 1e3)} k` : threeDigits(value);
}

export function rateText(value: number): string {
  return `${countText(value)}/s`;
}

export function coresText(value: number): string {
  return `${threeDigits(value)} CPU`;
}

export function memoryText(bytes: number): string {
  return bytes === 0 ? "0 B" : sizeOf(Math.round(bytes));
}

export function durationText(ms: number): string {
  return ms > 0 && ms < 10 ? `${threeDigits(ms)} ms` : spanOf(ms);
}

/** `12.5 h`, `1.2 k h`. */
export function hoursText(hours: number): string {
  return `${countText(hours)} h`;
}

function threeDigits(value: number): string {
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return Number(value.toFixed(digits)).toLocaleString("en");
}
