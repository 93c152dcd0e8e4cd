import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import t, { type Test } from "tap";
import type { FeedMeasurement } from "./fixtures/feed-process.ts";

const COUNT = 40_000;
const idOf = (nth: number) => `44444444-0000-4000-8000-${String(nth).padStart(12, "0")}`;

/** Control's feed in a process of its own. `report`: posts a report of these uses, which is measured there. */
async function openFeedProcess(t: Test) {
  // A socket's path may have 107 bytes only.
  const folder = mkdtempSync(join(tmpdir(), "berth-feed-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const socketPath = join(folder, "feed.sock");
  const control = fork(join(import.meta.dirname, "fixtures/feed-process.ts"), [socketPath]);
  t.teardown(async () => {
    control.kill("SIGKILL");
    await once(control, "exit");
  });
  const reply = async (): Promise<unknown> => (await once(control, "message"))[0] as unknown;
  await reply();

  const feed = httpRequest({ socketPath, path: "/feed" }).on("error", () => {});
  t.teardown(() => feed.destroy());
  feed.end();
  const [lines] = (await once(feed, "response")) as [IncomingMessage];
  const [hello] = (await once(lines.setEncoding("utf8"), "data")) as [string];
  lines.on("error", () => {}).resume();
  const { gateway } = JSON.parse(hello.split("\n")[0] ?? "") as { gateway: string };

  return async (uses: unknown, id: string): Promise<FeedMeasurement & { answer: string }> => {
    const body = JSON.stringify({ gateway, seq: 1, uses });
    control.send(id);
    await reply();
    const request = httpRequest({ socketPath, path: "/use", method: "POST", headers: { "content-length": Buffer.byteLength(body) } });
    request.end(body);
    const [response] = (await once(request, "response")) as [IncomingMessage];
    const answer = `${response.statusCode} ${await text(response)}`;
    control.send(id);
    return { answer, ...((await reply()) as FeedMeasurement) };
  };
}

t.test(`a report of ${COUNT} containers holds the event loop for less than 50 ms at a time`, async (t) => {
  const report = await openFeedProcess(t);
  const traffic = { requests: 1, errors: 0, latency: [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], waits: 0, waitMs: 0 };
  const uses = Array.from({ length: COUNT }, (_, nth) => ({ id: idOf(nth), open: 1, streams: 1, lastActive: 1 + nth, traffic }));
  let requests = 0;
  /** The least of up to three, each of a report whose containers were not in use, of the same again, and of their end: the collector of garbage comes now and then. */
  const longest = { begins: Infinity, goesOn: Infinity, ends: Infinity };
  for (let nth = 0; nth < 3 && Math.max(...Object.values(longest)) >= 50; nth++)
    for (const [what, reported, open] of [
      ["begins", uses, 1],
      ["goesOn", uses, 1],
      ["ends", [], 0],
    ] as const) {
      const { longestMs, ...result } = await report(reported, idOf(COUNT - 1));
      requests += reported.length;
      t.match(result, { answer: "204 ", requests, connections: open }, what);
      longest[what] = Math.min(longest[what], longestMs);
    }
  for (const [what, ms] of Object.entries(longest)) t.ok(ms < 50, `${what}: ${ms.toFixed(1)} ms`);
});

t.test("of a report that is refused, nothing counts", async (t) => {
  const report = await openFeedProcess(t);
  const good = { id: idOf(1), open: 1, streams: 1, lastActive: 1 };
  for (const uses of [[good, { ...good, open: -1 }], Array.from({ length: 300_000 }, () => 1), [good, "x".repeat(10_000)], { [good.id]: good }])
    t.match(await report(uses, good.id), { answer: /^400.*REQUEST_INVALID/, requests: 0, connections: 0 });
});
