import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openCheckContext, type CheckResult, warning, failure, type Check } from "../../../cli/doctor/check.ts";
import { CHECKS } from "../../../cli/doctor/checks.ts";
import { countRows, reportJson, formatTotals, formatRow, runChecks } from "../../../cli/doctor/doctor.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { byName, states } from "./look.ts";

const clock = createStillClock();
const open = () =>
  openCheckContext(
    { env: {}, args: [], script: undefined, parent: undefined, parseSettingsFile: undefined, clock },
    { server: undefined, registry: undefined, key: undefined, image: undefined, store: false, idleSeconds: 0 },
  );
const link = (name: string, needs: string[], check: Check["check"], ms = 1_000): Check => ({ name, needs, ms, check, advice: "advice" });
const good = async (): Promise<CheckResult> => ({ says: "good" });
const bad = async (): Promise<CheckResult> => ({ says: "", problems: [failure("what", "todo")] });
const never = new AbortController().signal;

t.test("each link needs only links before it, and no two have the same name", async (t) => {
  const before = new Set<string>();
  for (const { name, needs } of CHECKS) {
    t.same(needs.filter((one) => !before.has(one)), [], name); // prettier-ignore
    t.notOk(before.has(name));
    before.add(name);
  }
});

t.test("the page tells of each link, in the order of the walk", async (t) => {
  const page = readFileSync(join(import.meta.dirname, "../../../docs/doctor.md"), "utf8");
  const [links = ""] = page.split("| driver ");
  t.same([...links.matchAll(/^\| `([a-z ]+)`/gm)].map(([, name]) => name), CHECKS.map(({ name }) => name)); // prettier-ignore
});

t.test("what rests on a broken link is not looked at, nor what rests on that; the rest is", async (t) => {
  const looked: string[] = [];
  const record = (name: string) => async () => {
    looked.push(name);
    return good();
  };
  const rows = await runChecks(
    [
      link("a", [], bad),
      link("b", ["a"], record("b")),
      link("c", ["b"], record("c")),
      link("d", [], record("d")),
      link("e", [], async () => ({ unlooked: "why" })),
      link("f", ["e"], record("f")),
    ],
    open(),
    never,
  );
  t.same(states(byName(rows)), { a: "wrong", b: "not looked at", c: "not looked at", d: "ok", e: "not looked at", f: "ok" });
  t.same(looked, ["d", "f"]);
});

t.test("a link that hangs is wrong when its time is up, and those after it have theirs", async (t) => {
  const walking = runChecks([link("a", [], () => new Promise(() => {})), link("b", [], good)], open(), never);
  await clock.advance(999);
  t.equal(clock.pending(), 1);
  await clock.advance(1);
  t.same(states(byName(await walking)), { a: "wrong", b: "ok" });
});

t.test("after an interrupt everything is removed, the newest first", async (t) => {
  const stop = new AbortController();
  const removed: string[] = [];
  const chain = open();
  const makes = link("a", [], async (chain) => {
    for (const what of ["first", "second"]) chain.addCleanup(what, async () => void removed.push(what));
    stop.abort();
    return new Promise(() => {});
  });
  const rows = await runChecks([makes, link("b", [], good)], chain, stop.signal);
  t.same(states(byName(rows)), { a: "not looked at", b: "not looked at" });
  t.same(removed, ["second", "first"]);
});

t.test("what cannot be removed is reported, and the rest is removed", async (t) => {
  const removed: string[] = [];
  const makes = link("a", [], async (chain) => {
    chain.addCleanup("kept", async () => void removed.push("kept"));
    chain.addCleanup("stuck", async () => Promise.reject(new Error("no")));
    return good();
  });
  const rows = byName(await runChecks([makes], open(), never));
  t.same(states(rows), { a: "ok", "clearing up": "wrong" });
  t.same(removed, ["kept"]);
});

t.test("a warning leaves its link well, and each state is a word beside its colour", async (t) => {
  const warns = link("a", [], async () => ({ says: "good", problems: [warning("what", "todo")] }));
  const rows = await runChecks([warns, link("b", [], bad), link("c", ["b"], good)], open(), never);
  t.same(countRows(rows), { ok: 1, wrong: 1, "not looked at": 1, warnings: 1 });
  const report = JSON.parse(JSON.stringify(reportJson(rows))) as { ok: boolean; links: { link: string; state: string; problems: unknown[] }[] };
  t.equal(report.ok, false);
  t.same(report.links.map(({ link, state, problems }) => [link, state, problems.length]), [["a", "ok", 1], ["b", "wrong", 1], ["c", "not looked at", 0]]); // prettier-ignore
  const used = new Set<string>();
  const lines = rows.map((row) => formatRow(row, (colour, text) => (used.add(colour), text))).join("\n");
  t.same(used, new Set(["green", "yellow", "red", "dim"]));
  for (const word of ["ok", "wrong", "not looked at", "warning"]) t.ok(lines.includes(word));
  for (const word of ["1 ok", "1 wrong", "1 not looked at", "1 warning"]) t.ok(formatTotals(rows).includes(word));
});
