import t from "tap";
import { countTap, failedFilesIn, failuresIn } from "./count.ts";

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

t.test("each failed assertion is named once, with its file and its diagnostics", async (t) => {
  const output = `TAP version 14
# Subtest: test/a.test.ts
    # Subtest: outer
        # Subtest: inner
            ok 1 - fine
            not ok 2 - one is two
              ---
              diff: |
                -2
                +1
              ...
            
            1..2
        not ok 1 - inner # time=1ms
          ---
          at:
            lineNumber: 3
          ...
        
        1..1
    not ok 1 - outer # time=2ms
      ---
      at:
        lineNumber: 2
      ...
    
    1..1
not ok 1 - test/a.test.ts # time=3ms
  ---
  exitCode: 1
  ...

# Subtest: test/b.test.ts
    ok 1 - fine
    1..1
ok 2 - test/b.test.ts # time=3ms

not ok 3 - timeout!
  ---
  expired: test/c.test.ts
  ...

# { total: 4, pass: 2, fail: 2 }
`;
  t.equal(
    failuresIn(output).trimEnd(),
    `test/a.test.ts > outer > inner > one is two
  ---
  diff: |
    -2
    +1
  ...

timeout!
  ---
  expired: test/c.test.ts
  ...`,
  );
  t.equal(failuresIn("ok 1 - fine\n"), "");
  t.equal(failedFilesIn(output), undefined, "one ran into the time limit");
  t.same(failedFilesIn(output.replace("not ok 3 - timeout!", "ok 3 - test/c.test.ts # time=3ms")), ["test/a.test.ts"]);
  t.equal(failedFilesIn("ok 1 - test/a.test.ts\n"), undefined);
});
