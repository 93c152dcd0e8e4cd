import { addressOf, call, get, labelsFor, specOf, withoutInstance } from "./asking.ts";
import type { ConformanceTheme } from "./harness.ts";

/** Of drivers that can freeze a service instead of ending it. */
export const PAUSED: ConformanceTheme = {
  title: "Frozen instead of ended",
  cases: [
    {
      id: "paused",
      promise:
        "a paused service neither runs nor has ended, goes on where it was when it is deployed again, and is not adopted where anything differs",
      run: async (t, { driver, harness, name }) => {
        const service = name("paused");
        const source = await harness.image("onDemand");
        const spec = await specOf(driver, service, source, { env: { GREETING: "hello", SECRET: "s3cret" } });
        const began = async (deployed: typeof spec, by = driver) => get(addressOf(await by.deploy(deployed, call())), "/times");
        const freeze = async () => t.equal(await driver.pause?.(service, call()), true);
        t.equal(await driver.pause?.(service, call()), false, "what is not there is not frozen");
        const first = await began(spec);
        await freeze();
        await freeze();
        const frozen = { service, labels: spec.labels, running: false, addresses: [], paused: true };
        t.strictSame(withoutInstance(await driver.inspect(service, call())), frozen);
        t.strictSame(withoutInstance((await driver.list(call())).find((one) => one.service === service)), frozen);
        const second = harness.open();
        t.strictSame(await Promise.all([began(spec), began(spec, second)]), [first, first], "it goes on, whichever of two was first");
        t.equal((await second.inspect(service, call()))?.running, true);
        await second.close();
        await freeze();
        const fewer = await began({ ...spec, env: { GREETING: "hello" } });
        t.notSame(fewer, first, "a variable fewer, another start");
        await freeze();
        const otherwise = { ...spec, env: { GREETING: "another" } };
        const anew = await began(otherwise);
        t.notSame(anew, fewer, "other variables, another start");
        await freeze();
        const image = await specOf(driver, service, await harness.image("plain"), { env: otherwise.env });
        const of = await began({ ...image, labels: spec.labels });
        t.notSame(of, anew, "another image too");
        await freeze();
        t.notSame(await began({ ...image, labels: labelsFor(service, 2) }), of, "and a newer generation");
        await freeze();
        await driver.destroy(service, call());
        t.equal(await driver.inspect(service, call()), undefined);
        t.strictSame(await harness.left(service), [], "and it is ended like any other");
      },
    },
    {
      id: "paused-ended",
      promise: "a paused service that is killed has ended, and is no more frozen",
      run: async (t, { driver, harness, name }) => {
        const service = name("frozen-dead");
        const spec = await specOf(driver, service, await harness.image("onDemand"));
        await driver.deploy(spec, call());
        t.equal(await driver.pause?.(service, call()), true);
        await harness.kill(service);
        t.equal((await driver.inspect(service, call()))?.paused, undefined);
        t.equal(await driver.pause?.(service, call()), false);
        t.ok(await get(addressOf(await driver.deploy(spec, call())), "/times"));
        await driver.destroy(service, call());
      },
    },
  ],
};
