/** Delays that double from `first` to `longest` milliseconds, each shortened by up to a quarter so that many do not retry as one. */
export function backoff(first: number, longest: number): { next(): number; reset(): void } {
  let delay = first;
  return {
    next: () => {
      const now = delay * (1 - Math.random() / 4);
      delay = Math.min(delay * 2, longest);
      return now;
    },
    reset: () => {
      delay = first;
    },
  };
}
