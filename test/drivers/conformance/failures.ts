import { ControlEnds } from "../../../drivers/driver.ts";
import { systemClock } from "../../../lib/clock.ts";
import { preferGpu } from "../../../drivers/gpu.ts";
import { openLog } from "../../../lib/log.ts";
import { addressOf, call, get, rejectsWith, specOf, text, untimed } from "./asking.ts";
import type { ConformanceTheme } from "./harness.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** Starts that fail or are aborted: what is reported, and that nothing is left. */
export const FAILURES: ConformanceTheme = {
  title: "Starts that come to nothing",
  cases: [
    {
      id: "crash",
      promise: "an app that crashes at start fails at once with its exit code and last lines, and nothing is left",
      run: async (t, { driver, harness, name }) => {
        const service = name("crash");
        const spec = await specOf(driver, service, await harness.image("crashing"));
        const fault = await rejectsWith(t, "CONTAINER_CRASHED", driver.deploy(spec, call()));
        t.strictSame(untimed(t, harness, fault.logs), ["crash: reading settings", "crash: no database", "crash: giving up"]);
        t.match(fault.message, /exit code 7/);
        t.strictSame(await harness.left(service), []);
        await rejectsWith(
          t,
          "CONTAINER_CRASHED",
          driver.deploy({ ...spec, port: undefined, readiness: { kind: "running" }, graceMs: 5_000 }, call()),
        );
        t.strictSame(await harness.left(service), []);
      },
    },
    {
      id: "broken",
      promise: "a command that does not exist is a crash",
      run: async (t, { driver, harness, name }) => {
        const service = name("broken");
        await rejectsWith(t, "CONTAINER_CRASHED", driver.deploy(await specOf(driver, service, await harness.image("broken")), call()));
        t.strictSame(await harness.left(service), []);
      },
    },
    {
      id: "memory",
      promise: "an app that takes more memory than its limit has run out of memory",
      run: async (t, { driver, harness, name }) => {
        const service = name("hungry");
        const spec = await specOf(driver, service, await harness.image("hungry"), { memoryMb: 100 });
        const fault = await rejectsWith(t, "CONTAINER_OUT_OF_MEMORY", driver.deploy(spec, call()));
        t.match(fault.message, /100 MB/);
        t.strictSame(await harness.left(service), []);
      },
    },
    {
      id: "gpu",
      promise: "GPUs that no machine has are no capacity, and nothing is left; where they are only preferred, it starts without, and says so",
      run: async (t, { driver, harness, name }) => {
        const service = name("gpu");
        const spec = await specOf(driver, service, await harness.image("onDemand"), { gpu: 8 });
        const fault = await rejectsWith(t, "NO_CAPACITY", driver.deploy(spec, call()));
        t.match(fault.message, /NVIDIA container toolkit.*BERTH_GPU_POLICY=prefer/);
        t.strictSame(await harness.left(service), []);
        const preferring = preferGpu(driver, openLog({ level: "silent", name: "test" }));
        const deployed = await preferring.deploy(spec, call());
        t.match(deployed.warning, /runs without the 8 GPUs/);
        t.strictSame(await get(addressOf(deployed), "/square?number=3"), { result: 9 });
        const again = await preferring.deploy(spec, call());
        t.equal(again.instance, deployed.instance, "it is adopted as it is");
        t.strictSame(await harness.left(service), [service]);
        await driver.destroy(service, call());
      },
    },
    {
      id: "unknown-image",
      promise: "an image that does not exist is not found",
      run: async (t, { driver, harness }) => {
        await rejectsWith(t, "IMAGE_NOT_FOUND", driver.resolve(await harness.unknown(), call()));
      },
    },
    {
      id: "listeners",
      promise: "of an app that listens elsewhere than at its port, the driver says where, until it ends",
      run: async (t, { driver, harness, name }) => {
        const service = name("elsewhere");
        const spec = await specOf(driver, service, await harness.image("mute"), { env: { LISTEN: "127.0.0.1 0" } });
        const caller = new AbortController();
        const start = driver.deploy(spec, { signal: caller.signal });
        start.catch(() => {});
        const port = await eventually("it listens", async () => {
          const lines = await text(driver.logs(service, { tail: 10 }, call()));
          return /mute listens on (\d+)/.exec(lines)?.[1];
        });
        t.match(await driver.listeners?.(service, call()), { sockets: [{ host: "127.0.0.1", port: Number(port) }] });
        caller.abort(new Error("enough"));
        await start.catch(() => {});
        t.equal(await driver.listeners?.(service, call()), undefined);
        t.equal(await driver.listeners?.(name("unknown"), call()), undefined);
      },
    },
    {
      id: "called-off",
      promise: "a start that is called off while it boots ends with the caller's reason, and nothing is left",
      run: async (t, { driver, harness, name }) => {
        const service = name("mute");
        const spec = await specOf(driver, service, await harness.image("mute"));
        const caller = new AbortController();
        const reason = new Error("enough");
        const start = driver.deploy(spec, { signal: caller.signal });
        start.catch(() => {});
        await eventually("the service runs", async () => (await driver.inspect(service, call()))?.running === true);
        caller.abort(reason);
        t.equal(await start.catch((error: unknown) => error), reason);
        t.strictSame(await harness.left(service), []);
      },
    },
    {
      id: "control-ends",
      promise: "a start that is called off because control ends leaves what it started, for the next control process",
      run: async (t, { driver, harness, name }) => {
        const service = name("handed-on");
        const spec = await specOf(driver, service, await harness.image("mute"));
        const caller = new AbortController();
        const reason = new ControlEnds("control ends");
        const start = driver.deploy(spec, { signal: caller.signal });
        start.catch(() => {});
        await eventually("the service runs", async () => (await driver.inspect(service, call()))?.running === true);
        caller.abort(reason);
        t.equal(await start.catch((error: unknown) => error), reason);
        t.match(await driver.inspect(service, call()), { running: true });
        await driver.destroy(service, call());
        t.strictSame(await harness.left(service), []);
      },
    },
    {
      id: "called-off-anywhere",
      promise: "called off at any moment, a start ends with the caller's reason, and nothing is left",
      run: async (t, { driver, harness, name }) => {
        const clock = systemClock();
        const service = name("moments");
        const spec = await specOf(driver, service, await harness.image("mute"));
        // Different moments of a start, which is never ready; which they are does not matter.
        for (const ms of [0, 2, 8, 30, 120, 500]) {
          const caller = new AbortController();
          const reason = new Error(`enough after ${ms} ms`);
          const start = driver.deploy(spec, { signal: caller.signal });
          start.catch(() => {});
          if (ms > 0) await clock.sleep(ms);
          caller.abort(reason);
          t.equal(await start.catch((error: unknown) => error), reason, `after ${ms} ms`);
          t.strictSame(await harness.left(service), [], `nothing is left after ${ms} ms`);
        }
      },
    },
    {
      id: "called-off-before",
      promise: "a call that is called off before it begins does nothing, whichever it is",
      run: async (t, { driver, harness, name }) => {
        const service = name("before");
        const source = await harness.image("worker");
        const spec = await specOf(driver, service, source);
        await driver.deploy(spec, call());
        const reason = new Error("enough");
        const off = { signal: AbortSignal.abort(reason) };
        const calls = {
          resolve: () => driver.resolve(source, off),
          deploy: () => driver.deploy({ ...spec, service: name("before-other") }, off),
          inspect: () => driver.inspect(service, off),
          list: () => driver.list(off),
          logs: () => text(driver.logs(service, { tail: 1 }, off)),
          destroy: () => driver.destroy(service, off),
        };
        for (const [what, task] of Object.entries(calls)) t.equal(await (task() as Promise<unknown>).catch((error: unknown) => error), reason, what);
        t.strictSame(await harness.left(name("before")), [service]);
        for await (const event of driver.events(off)) t.fail(`an event: ${event.kind}`);
        await driver.destroy(service, call());
      },
    },
  ],
};
