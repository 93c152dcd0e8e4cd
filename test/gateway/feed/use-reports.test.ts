import t, { type Test } from "tap";
import type { CountedUse, UseReport } from "../../../gateway/contract.ts";
import { openUseReports, type UseReportHead } from "../../../gateway/feed/use-reports.ts";
import { systemClock } from "../../../lib/clock.ts";
import type { TrafficCounts, TrafficSource } from "../../../lib/traffic-counts.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { longestTurn } from "../../fixtures/longest-turn.ts";

const COUNT = 40_000;
const useOf = (nth: number): CountedUse => ({ id: `container ${nth}`, open: 1, streams: 1, lastActive: 1, reportDue: false });

function openTestReports(t: Test, send: (head: UseReportHead) => Promise<void> = async () => undefined) {
  const sent: UseReport[] = [];
  const connection = { gateway: "first", seq: 1 };
  const reports = openUseReports({
    clock: systemClock(),
    readHead: () => ({ ...connection }),
    send: async (head, report) => {
      await send(head);
      sent.push(JSON.parse(report.toString()) as UseReport);
    },
  });
  t.teardown(() => reports.close());
  return { reports, sent, connection };
}

t.test(`a report of ${COUNT} containers holds the event loop for less than 50 ms at a time`, async (t) => {
  const reported = Promise.withResolvers<void>();
  const { reports, sent } = openTestReports(t, async () => reported.resolve());
  const uses = Array.from({ length: COUNT }, (_, nth) => useOf(nth));
  for (const use of uses) reports.used(use, true);
  const { longestMs } = await longestTurn(reported.promise);
  t.ok(longestMs < 50, `${longestMs.toFixed(1)} ms`);
  await eventually("it is sent", () => sent.length === 1);
  t.equal(sent[0]?.uses.length, COUNT);
  for (const use of uses) Object.assign(use, { open: 0, streams: 0 });
  await reports.close();
  t.match(sent.at(-1), { gateway: "first", seq: 1, last: true });
  t.ok(Math.abs((sent.at(-1)?.at ?? 0) - Date.now()) < 60_000, "it has the time by the gateway's clock");
});

t.test("what changes while a report is written is of that report or of the next, and its head is older than its uses", async (t) => {
  const { reports, sent, connection } = openTestReports(t);
  const uses = Array.from({ length: 3_000 }, (_, nth) => useOf(nth));
  for (const use of uses) reports.used(use, true);
  const [first, last] = [uses[0] as CountedUse, uses.at(-1) as CountedUse];
  // The first part of the report is written.
  while (first.reportDue !== false) await new Promise(setImmediate);
  t.equal(last.reportDue, true, "the last part is not");
  connection.seq = 2;
  for (const use of [first, last]) {
    use.open = 2;
    reports.used(use, true);
  }
  await eventually("another report", () => sent.length >= 2);
  t.match(sent[0], { seq: 1, uses: { 0: { open: 1 }, 2_999: { open: 2 } } });
  t.match(sent[1], { seq: 2, uses: { 0: { open: 2 }, 2_999: { open: 2 } } });
});

t.test("a use from before the clock was set back counts once, however often it is reported", async (t) => {
  const { reports, sent } = openTestReports(t);
  const use = { ...useOf(1), lastActive: Date.now() + 3_600_000 };
  reports.used(use, true);
  await eventually("a report", () => sent.length === 1);
  const { at = 0, uses: [{ lastActive = 0 } = {}] = [] } = sent[0] ?? {};
  t.ok(Math.abs(lastActive - at) < 60_000, `${lastActive - at} ms after the report`);
  await eventually("a later moment", () => Date.now() > lastActive);
  reports.used(use, true);
  await eventually("another report", () => sent.length === 2);
  t.equal(sent[1]?.uses[0]?.lastActive, lastActive);
});

t.test("what a failed report had is in the next one", async (t) => {
  let isAway = true;
  const { reports, sent } = openTestReports(t, async () => {
    if (isAway) throw new Error("control is away");
  });
  let counted: TrafficCounts | undefined = { requests: 1, errors: 0, latency: [] };
  let failures = 0;
  const traffic: TrafficSource = {
    take: () => {
      const taken = counted;
      counted = undefined;
      return taken;
    },
    putBack: (counts) => {
      counted = counts;
      failures++;
    },
  };
  reports.used({ ...useOf(1), open: 0, streams: 0, responses: { traffic } }, true);
  await eventually("it was tried", () => failures > 0);
  isAway = false;
  await eventually("it is sent", () => sent.length === 1);
  t.match(sent[0], { uses: [{ id: "container 1", traffic: { requests: 1 } }] });
});
