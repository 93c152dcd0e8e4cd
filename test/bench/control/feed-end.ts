/**
 * A gateway's end of the feed as a process of its own: `node feed-end.ts SOCKET`. It tells its parent how long it took until it knew every container, and
 * then wakes those that its parent names.
 */
import { systemClock } from "../../../lib/clock.ts";
import { localControl } from "../../../gateway/feed/control-client.ts";
import { openFeed } from "../../../gateway/feed/open-feed.ts";
import { openLog } from "../../../lib/log.ts";
import { CALLER } from "./fill.ts";

/** `one`: each in turn, and when it was known here. `all`: so many at a time. */
export type WakeOrder = { ids: string[]; atOnce: number };
export type EndReport = { kind: "known"; ms: number } | { kind: "woken"; ms: number; knownAt: Record<string, number> };

const [socketPath = ""] = process.argv.slice(2);
const never = new AbortController().signal;
const begun = performance.now();
const feed = openFeed({
  link: localControl({ feedSocket: socketPath, apiSocket: "/nowhere" }),
  version: "bench",
  clock: systemClock(),
  log: openLog({ level: "warn", name: "feed-end" }),
});
await feed.ready();
tell({ kind: "known", ms: performance.now() - begun });
process.once("disconnect", () => process.exit(0));
process.on("message", ({ ids, atOnce }: WakeOrder) => void wakeAll(ids, atOnce));

function tell(report: EndReport): void {
  process.send?.(report);
}

async function wakeAll(ids: string[], atOnce: number): Promise<void> {
  const left = [...ids];
  const knownAt: Record<string, number> = {};
  const from = performance.now();
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let id = left.pop(); id !== undefined; id = left.pop()) await wake(id, knownAt);
    }),
  );
  tell({ kind: "woken", ms: performance.now() - from, knownAt });
}

async function wake(id: string, knownAt: Record<string, number>): Promise<void> {
  const complete = Promise.withResolvers<void>();
  const unwatch = feed.directory.watch(id, () => {
    // Of a clock that all processes of a machine share.
    knownAt[id] ??= Number(process.hrtime.bigint());
    complete.resolve();
  });
  await feed.directory.wake(id, CALLER, never);
  await complete.promise;
  unwatch();
}
