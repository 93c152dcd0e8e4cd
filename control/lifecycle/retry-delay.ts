/** Delays that double from `firstMs` to `longestMs`. */
export type Retry = { firstMs: number; longestMs: number };

/** How long to wait after the `failures`th failure in a row (from 1), shortened by up to a quarter so that many do not come back as one. */
export function retryDelay(retry: Retry, failures: number, random: () => number): number {
  const full = Math.min(retry.longestMs, retry.firstMs * 2 ** Math.max(0, failures - 1));
  return full * (1 - random() / 4);
}
