/** Delays that double from `firstMs` to `longestMs`. */
export type BackoffRange = { firstMs: number; longestMs: number };

/** The delay after the `failures`th failure in a row (from 1): it doubles from `firstMs` to `longestMs`. */
export function backoffDelay({ firstMs, longestMs }: BackoffRange, failures: number): number {
  return Math.min(longestMs, firstMs * 2 ** Math.max(0, failures - 1));
}

/** Shortens a delay by up to a quarter, so that many who wait do not retry as one. */
export function scattered(delayMs: number, random: () => number = Math.random): number {
  return delayMs * (1 - random() / 4);
}

/** The scattered delay after the `failures`th failure in a row (from 1). */
export function retryDelay(range: BackoffRange, failures: number, random?: () => number): number {
  return scattered(backoffDelay(range, failures), random);
}

/** Scattered delays that double. */
export function createBackoff(firstMs: number, longestMs: number): { next(): number; reset(): void } {
  let failures = 0;
  return {
    next: () => retryDelay({ firstMs, longestMs }, ++failures),
    reset: () => {
      failures = 0;
    },
  };
}
