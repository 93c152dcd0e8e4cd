import tap from "tap";
import { AccessRecord, answersOf, type ContainerResponses } from "../../gateway/access-record.ts";
import { MOST_RECENT } from "../../gateway/contract.ts";
import { createRecentRequests } from "../../gateway/recent-requests.ts";
import { createStillClock } from "../fixtures/clock.ts";
import { openMetrics } from "../../lib/metrics/open-metrics.ts";

const metrics = openMetrics();
const clock = createStillClock();

function openRings() {
  const recent = createRecentRequests(clock);
  const finish = (answers: ContainerResponses, target: string) => {
    const observer = { over: recent.write, keepsHeads: false, keepsTargets: true };
    const record = new AccessRecord(observer, clock, { method: "GET", target, header: () => undefined }, "127.0.0.1");
    record.decided({ route: "proxy", answers, login: "jo" });
    record.answered(200);
    record.finish("answered");
  };
  return { finish, paths: (id: string) => recent.of(id).map(({ path }) => path) };
}

const container = (id: string) => answersOf(metrics, { id, name: id });

tap.test("the last requests of a container are kept, the newest first", async (t) => {
  const { finish, paths } = openRings();
  const one = container("one");
  for (let n = 0; n < MOST_RECENT + 5; n++) finish(one, `/${n}?secret=1`);
  const kept = paths("one");
  t.equal(kept.length, MOST_RECENT);
  t.equal(kept[0], `/${MOST_RECENT + 4}`);
  t.equal(kept.at(-1), "/5");
  t.strictSame(paths("other"), []);
});

tap.test("new counters of the same container go on where the old ones were", async (t) => {
  const { finish, paths } = openRings();
  finish(container("one"), "/before");
  finish(container("one"), "/after");
  t.strictSame(paths("one"), ["/after", "/before"]);
});

tap.test("beyond 100 containers, one that is in use keeps its requests, and no container has another's", async (t) => {
  const { finish, paths } = openRings();
  const busy = container("busy");
  const others = Array.from({ length: 900 }, (_, n) => container(`container-${n}`));
  for (let round = 0; round < 3; round++) {
    for (const [n, other] of others.entries()) {
      finish(other, `/of-${n}`);
      if (n % 10 === 0) finish(busy, "/busy");
    }
  }
  t.equal(paths("busy").length, MOST_RECENT, "it was used between all others");
  const shown = others.map((_, n) => paths(`container-${n}`));
  for (const [n, some] of shown.entries()) t.strictSame([...new Set(some)], some.length === 0 ? [] : [`/of-${n}`]);
  t.equal(shown.filter((some) => some.length > 0).length, 99);
  t.strictSame(paths("container-899"), ["/of-899"]);
});
