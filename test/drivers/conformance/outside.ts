import type { Test } from "tap";
import type { Driver, DriverEvent } from "../../../drivers/driver.ts";
import { addressOf, call, get, rejectsWith, specOf, text, withoutInstance } from "./asking.ts";
import type { Harness, ConformanceTheme, Way } from "./harness.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** What happens past the driver: deaths, removals, moves, an orchestrator that is away. */
export const OUTSIDE: ConformanceTheme = {
  title: "Behind its back",
  cases: [
    {
      id: "logs",
      promise: "logs are the last lines, and go on while they are followed",
      run: async (t, { driver, harness, name }) => {
        const service = name("logs");
        await driver.deploy(await specOf(driver, service, await harness.image("worker"), { graceMs: 900 }), call());
        await eventually("it has worked", async () => (await text(driver.logs(service, { tail: 1000 }, call()))).includes("job 2"));
        t.match(await text(driver.logs(service, { tail: 1000 }, call())), /^worker began\nworker did job 1\n/);
        t.match(await text(driver.logs(service, { tail: 2 }, call())), /^worker did job \d+\nworker did job \d+\n$/);
        const caller = new AbortController();
        let followed = "";
        const reason = new Error("seen enough");
        const following = (async () => {
          for await (const piece of driver.logs(service, { tail: 1, follow: true }, { signal: caller.signal })) {
            followed += piece;
            if (followed.split("\n").length > 3) caller.abort(reason);
          }
        })();
        t.equal(await following.catch((error: unknown) => error), reason);
        await driver.destroy(service, call());
      },
    },
    {
      id: "log-times",
      promise: "log lines with times look the same on every orchestrator, read or followed",
      run: async (t, { driver, harness, name }) => {
        const service = name("times");
        const from = Date.now();
        await driver.deploy(await specOf(driver, service, await harness.image("worker"), { graceMs: 900 }), call());
        const followed = text(driver.logs(service, { tail: 1000, follow: true, timestamps: true }, call()));
        const lines = await eventually("it has worked", async () => {
          const all = await text(driver.logs(service, { tail: 1000, timestamps: true }, call()));
          return all.includes("job 2") ? all.split("\n") : undefined;
        });
        t.match(lines[0], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z worker began$/);
        t.match(lines[1], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z worker did job 1$/);
        const [began, worked] = lines.map((line) => Date.parse(line.slice(0, line.indexOf(" "))));
        t.ok(from - 1_000 <= (began ?? 0) && (began ?? 0) <= (worked ?? 0) && (worked ?? 0) <= Date.now() + 1_000, "they are the lines' own");
        await harness.kill(service);
        t.match((await followed).split("\n")[0], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z worker began$/);
        await driver.destroy(service, call());
      },
    },
    {
      id: "last-words",
      promise: "logs of a service that died are there until it is destroyed, and following them ends",
      run: async (t, { driver, harness, name }) => {
        const service = name("words");
        await driver.deploy(await specOf(driver, service, await harness.image("worker")), call());
        const followed = text(driver.logs(service, { tail: 1000, follow: true }, call()));
        await eventually("it wrote its first line", async () =>
          (await text(driver.logs(service, { tail: 1000 }, call()))).includes("worker began\n"),
        );
        await harness.kill(service);
        await eventually("it is dead", async () => (await driver.inspect(service, call()))?.running === false);
        t.match(await followed, /^worker began\n/);
        t.match(await text(driver.logs(service, { tail: 1000 }, call())), /^worker began\n/);
        await driver.destroy(service, call());
        t.equal(await text(driver.logs(service, { tail: 1000 }, call())), "");
      },
    },
    {
      id: "death",
      promise: "an end is reported, observed and repaired",
      run: async (t, { driver, harness, name }) => {
        const service = name("death");
        const recorded = await hear(t, driver);
        const spec = await specOf(driver, service, await harness.image("onDemand"));
        const { instance } = await driver.deploy(spec, call());
        const changeCount = () => recorded.changes(service, spec.labels.container);
        await eventually("the start was reported", () => changeCount() > 0);
        const before = changeCount();
        await harness.kill(service);
        await eventually("the death was reported", () => changeCount() > before);
        await eventually("as the end of this very instance", () => recorded.ends(service, instance) > 0);
        await eventually("its end is known", async () => (await driver.inspect(service, call()))?.exit?.code === 137);
        const observed = (await driver.list(call())).find((one) => one.service === service);
        t.strictSame(withoutInstance(observed), {
          service,
          labels: spec.labels,
          running: false,
          addresses: [],
          exit: { code: 137, outOfMemory: false },
        });
        const again = await driver.deploy(spec, call());
        t.strictSame(await get(addressOf(again), "/square?number=3"), { result: 9 });
        await driver.destroy(service, call());
        await recorded.end();
      },
    },
    {
      id: "exit-code",
      promise: "an app that ends by itself is seen with its exit code",
      run: async (t, { driver, harness, name }) => {
        const service = name("exit");
        const spec = await specOf(driver, service, await harness.image("onDemand"));
        const address = addressOf(await driver.deploy(spec, call()));
        await fetch(`http://${address.host}:${address.port}/exit?code=42`).catch(() => {});
        await eventually("its end is known", async () => (await driver.inspect(service, call()))?.exit !== undefined);
        const end = { service, labels: spec.labels, running: false, addresses: [], exit: { code: 42, outOfMemory: false } };
        t.strictSame(withoutInstance(await driver.inspect(service, call())), end);
        await driver.destroy(service, call());
      },
    },
    {
      id: "removed",
      needs: ["vanish"],
      promise: "a removed service is reported, does not exist, and is created again",
      run: async (t, { driver, harness, name }) => {
        const service = name("removed");
        const recorded = await hear(t, driver);
        const spec = await specOf(driver, service, await harness.image("onDemand"));
        await driver.deploy(spec, call());
        await eventually("the start was reported", () => recorded.changes(service, spec.labels.container) > 0);
        const before = recorded.changes(service, spec.labels.container);
        await harness.vanish?.(service);
        await eventually("it was reported", () => recorded.changes(service, spec.labels.container) > before);
        await eventually("it is nothing", async () => (await driver.inspect(service, call())) === undefined);
        t.notOk((await driver.list(call())).some((one) => one.service === service));
        const again = await driver.deploy(spec, call());
        t.strictSame(await get(addressOf(again), "/square?number=6"), { result: 36 });
        await driver.destroy(service, call());
        await recorded.end();
      },
    },
    {
      id: "moved",
      needs: ["move"],
      promise: "a service at a new address is reported, and observed there",
      run: async (t, { driver, harness, name }) => {
        const service = name("moved");
        const recorded = await hear(t, driver);
        const spec = await specOf(driver, service, await harness.image("onDemand"));
        const before = addressOf(await driver.deploy(spec, call()));
        await eventually("the start was reported", () => recorded.changes(service, spec.labels.container) > 0);
        const changeCount = recorded.changes(service, spec.labels.container);
        await harness.move?.(service);
        await eventually("it was reported", () => recorded.changes(service, spec.labels.container) > changeCount);
        await eventually("another address", async () => {
          const now = (await driver.inspect(service, call()))?.addresses[0];
          return now !== undefined && (now.host !== before.host || now.port !== before.port);
        });
        const now = addressOf((await driver.inspect(service, call())) ?? { addresses: [] });
        await eventually("it answers there", () => get(now, "/square?number=7").then(() => true, () => false)); // prettier-ignore
        t.strictSame(await get(now, "/square?number=7"), { result: 49 });
        t.strictSame((await driver.list(call())).find((one) => one.service === service)?.addresses[0], now);
        t.strictSame((await driver.deploy(spec, call())).addresses[0], now, "it is adopted there");
        await driver.destroy(service, call());
        await recorded.end();
      },
    },
    {
      id: "lost-events",
      needs: ["way"],
      promise: "events begin anew when their stream breaks, and say so",
      run: async (t, { driver, harness, name }) => {
        const way = await wayOf(t, harness);
        const recorded = await hear(t, way.driver);
        // A driver may be between two connections at that moment, so its stream is cut until it breaks.
        let cutOn = -Infinity;
        await eventually("connected again", () => {
          if (performance.now() - cutOn > 3_000) {
            way.cut();
            cutOn = performance.now();
          }
          return recorded.connects() >= 2;
        });
        const service = name("events");
        const spec = await specOf(driver, service, await harness.image("worker"));
        await driver.deploy(spec, call());
        await eventually("reported after the break", () => recorded.changes(service, spec.labels.container) > 0);
        await recorded.end();
        await driver.destroy(service, call());
        await way.driver.close();
      },
    },
    {
      id: "away",
      needs: ["way"],
      promise: "an orchestrator that is away is unreachable in every call, and all is as before when it is back",
      run: async (t, { driver, harness, name }) => {
        const service = name("away");
        const source = await harness.image("worker");
        const spec = await specOf(driver, service, source);
        await driver.deploy(spec, call());
        const way = await wayOf(t, harness);
        await way.away();
        const calls = {
          ...(harness.resolvesElsewhere ? {} : { resolve: () => way.driver.resolve(source, call()) }),
          deploy: () => way.driver.deploy({ ...spec, labels: { ...spec.labels, generation: 2 } }, call()),
          inspect: () => way.driver.inspect(service, call()),
          list: () => way.driver.list(call()),
          logs: () => text(way.driver.logs(service, { tail: 1 }, call())),
          destroy: () => way.driver.destroy(service, call()),
        };
        for (const task of Object.values(calls)) await rejectsWith(t, "ENGINE_UNREACHABLE", task());
        t.equal((await driver.inspect(service, call()).catch(() => undefined))?.labels.generation ?? 1, 1, "nothing was done");
        await way.back();
        t.match(await way.driver.inspect(service, call()), { running: true, labels: { generation: 1 } });
        await way.driver.destroy(service, call());
        t.strictSame(await harness.left(service), []);
        await way.driver.close();
      },
    },
    {
      id: "away-meanwhile",
      needs: ["way"],
      promise: "an orchestrator that goes away during a start lets it end well or fail so; the next deploy has the one service",
      run: async (t, { driver, harness, name }) => {
        const service = name("meanwhile");
        const way = await wayOf(t, harness);
        const spec = await specOf(driver, service, await harness.image("onDemand"), { env: { BOOT_MS: "600" } });
        const start = way.driver.deploy(spec, call()).then(
          () => "ready",
          (error: { code?: string }) => error.code,
        );
        await eventually("it runs", async () => (await driver.inspect(service, call()))?.running === true);
        await way.away();
        // A driver may ask again until the orchestrator is back.
        const whileAway = await Promise.race([start, new Promise<undefined>((resolve) => setTimeout(resolve, 10_000, undefined).unref())]);
        await way.back();
        const outcome = whileAway ?? (await start);
        t.ok(outcome === "ready" || outcome === "ENGINE_UNREACHABLE", `it ended with ${outcome}`);
        t.strictSame(await get(addressOf(await way.driver.deploy(spec, call())), "/square?number=8"), { result: 64 });
        t.strictSame(await harness.left(service), [service]);
        await way.driver.destroy(service, call());
        await way.driver.close();
      },
    },
  ],
};

async function wayOf(t: Test, { way }: Harness): Promise<Way> {
  if (!way) throw new Error("The harness has no way that could be broken.");
  return way(t);
}

/** Listens to the driver's events from when it is connected. */
async function hear(t: Test, driver: Driver) {
  const caller = new AbortController();
  t.teardown(() => caller.abort());
  const events: DriverEvent[] = [];
  const listening = (async () => {
    for await (const event of driver.events({ signal: caller.signal })) events.push(event);
  })();
  await eventually("connected", () => events[0]?.kind === "connected");
  return {
    connects: () => events.filter(({ kind }) => kind === "connected").length,
    changes: (service: string, container: string) =>
      events.filter((event) => event.kind === "changed" && event.service === service && event.container === container).length,
    ends: (service: string, instance: string | undefined) =>
      events.filter((event) => event.kind === "changed" && event.service === service && event.ended?.instance === instance).length,
    end: async () => {
      caller.abort();
      await listening;
    },
  };
}
