import t from "tap";
import { backoffDelay, createBackoff, scattered } from "../../lib/backoff.ts";

t.test("delays double from the first to the longest", async (t) => {
  const range = { firstMs: 100, longestMs: 500 };
  t.strictSame(
    [0, 1, 2, 3, 4, 1_000].map((failures) => backoffDelay(range, failures)),
    [100, 100, 200, 400, 500, 500],
  );
  t.equal(
    scattered(100, () => 1),
    75,
  );
  t.equal(
    scattered(100, () => 0),
    100,
  );
});

t.test("a success begins again with the first delay", async (t) => {
  const delays = createBackoff(100, 10_000);
  const between = (ms: number, most: number) => t.ok(ms > most * 0.75 - 1 && ms <= most, `${ms} of ${most}`);
  between(delays.next(), 100);
  between(delays.next(), 200);
  delays.reset();
  between(delays.next(), 100);
});
