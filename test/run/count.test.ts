import t from "tap";
import { countTap } from "./count.ts";

t.test("the totals of tap's own output are what counts", async (t) => {
  t.same(countTap("TAP version 14\n1..2\nok 1 - a\n# { total: 9, pass: 9 }\n# time=1ms\n", true), { passed: 9, failed: 0 });
  t.same(countTap("    # { total: 1, pass: 1 }\n# { total: 9, pass: 4, fail: 5 }\n", false), { passed: 4, failed: 5 });
});

t.test("what is skipped or left to do counts as failed", async (t) => {
  t.same(countTap("# { total: 9, pass: 4, skip: 2, todo: 3 }\n", true), { passed: 4, failed: 5 });
});

t.test("a run without totals, without tests or with a bad end is a failure", async (t) => {
  t.same(countTap("", true), { passed: 0, failed: 1 });
  t.same(countTap("# { total: 0, pass: 0 }\n", true), { passed: 0, failed: 1 });
  t.same(countTap("# { total: 3, pass: 3 }\n", false), { passed: 3, failed: 1 });
});
