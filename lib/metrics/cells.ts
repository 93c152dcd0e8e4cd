/** One number, which whoever counts holds on to: counting is an addition, and no label is looked up for it. */
export class Count {
  value = 0;

  add(n = 1): void {
    this.value += n;
  }

  set(n: number): void {
    this.value = n;
  }
}

/** How often something took how long: one number for each bound, and one for what lies above them all. */
export class Spread {
  readonly bounds: readonly number[];
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  observe(value: number): void {
    const { bounds, counts } = this;
    let at = 0;
    for (const bound of bounds) {
      if (value <= bound) break;
      at++;
    }
    counts[at] = (counts[at] ?? 0) + 1;
    this.sum += value;
  }
}
