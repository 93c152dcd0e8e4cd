import t from "tap";
import { measureEventLoopDelay } from "../../../lib/metrics/process-metrics.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { pause } from "../../fixtures/clock.ts";

t.test("a process whose event loop stood still reports for how long, until it is read", async (t) => {
  const metrics = openMetrics();
  measureEventLoopDelay(metrics, "control");
  const delay = async (part: string) => {
    const metric = (await metrics.snapshot()).find(({ name }) => name === "berth_event_loop_delay_seconds");
    return metric?.values.find(({ labels }) => labels["part"] === part && labels["process"] === "control")?.value ?? Number.NaN;
  };
  t.equal(await delay("max"), 0, "nothing was measured yet");
  // A figure needs two looks of the process's own, 50 ms apart.
  await pause(200);
  const until = performance.now() + 700;
  while (performance.now() < until);
  // Who asks comes by the loop too, after what was due.
  await pause(200);
  const most = await delay("max");
  t.ok(most > 0.4 && most < 60, `${most} s`);
  await eventually("it to be reported once", async () => (await delay("max")) < 0.4);
});
