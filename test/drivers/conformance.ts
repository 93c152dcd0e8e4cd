import { randomUUID } from "node:crypto";
import { connect } from "node:net";
import { type Test } from "tap";
import { systemClock } from "../../clock.ts";
import type { Address, Driver, DriverEvent, ImageSource, Labels, Spec } from "../../drivers/driver.ts";
import { Fault, type FaultCode } from "../../fault.ts";
import type { TestImage } from "../fixtures/images.ts";

/** What a driver's own test brings, so that the kit can look at the world past the driver. */
export type Harness = {
  /** A new driver over the same world, as a berth that was started again would have. */
  open(): Driver;
  image(name: TestImage): Promise<TestSource>;
  /** An image that nobody has. */
  unknown(): Promise<ImageSource>;
  /** Kills a running service, as a crash would, without the driver's help. */
  kill(service: string): Promise<void>;
  /** Names all that is left in the world of services whose name begins so, running or not. */
  left(prefix: string): Promise<string[]>;
};

/** `port`: as a package says it itself, for a driver whose registries do not tell what an image exposes. */
export type TestSource = ImageSource & { port?: number | undefined };

const STORE = randomUUID();
const TEST_MS = 60_000;

/** A running number in each name keeps parallel runs and repeated ones apart. */
export function namer(prefix: string): (what: string) => string {
  const run = randomUUID().slice(0, 8);
  return (what) => `${prefix}-${run}-${what}`;
}

export function labelsFor(service: string, generation = 1): Labels {
  return { store: STORE, environment: "test", container: `container-of-${service}`, generation };
}

export async function specOf(driver: Driver, service: string, source: TestSource, more: Partial<Spec> = {}): Promise<Spec> {
  const image = await driver.resolve(source, call());
  const { id, exposed } = image;
  const sizes = { cpu: 0.5, memoryMb: 256, shmMb: 64, storageGb: 21, gpu: 0 };
  return {
    service,
    labels: labelsFor(service),
    image: id,
    folder: source.folder,
    env: {},
    ...sizes,
    port: source.port ?? exposed[0],
    graceMs: 300,
    ...more,
  };
}

export const call = (ms = TEST_MS) => ({ signal: AbortSignal.timeout(ms) });

export async function rejectsWith(t: Test, code: FaultCode, task: Promise<unknown>): Promise<Fault> {
  const error = await task.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  t.ok(error instanceof Fault, "fails with a fault");
  t.equal((error as Fault | undefined)?.code, code);
  return error as Fault;
}

/** Looks every few milliseconds until it is so; fails the test where it never is. */
export async function until(t: Test, what: string, so: () => Promise<boolean> | boolean): Promise<void> {
  const clock = systemClock();
  for (const end = clock.monotonic() + 15_000; clock.monotonic() < end; await clock.sleep(20)) if (await so()) return;
  t.fail(`never: ${what}`);
}

export async function text(pieces: AsyncIterable<string>): Promise<string> {
  let all = "";
  for await (const piece of pieces) all += piece;
  return all;
}

export async function get(address: Address, path: string): Promise<unknown> {
  const response = await fetch(`http://${address.host}:${address.port}${path}`);
  return response.json();
}

function accepted({ host, port }: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const settle = (is: boolean) => {
      socket.destroy();
      resolve(is);
    };
    socket.once("connect", () => settle(true));
    socket.once("error", () => settle(false));
  });
}

function addressOf(deployment: { address?: Address | undefined }): Address {
  if (!deployment.address) throw new Error("The deployment has no address.");
  return deployment.address;
}

/** The promises of `drivers/driver.ts`, on a real orchestrator. */
export async function conformance(t: Test, harness: Harness): Promise<void> {
  const name = namer("conf");
  const driver = harness.open();
  const onDemand = await harness.image("onDemand");

  await t.test("a deployed service answers at its address and is found with its labels", async (t) => {
    const service = name("life");
    const spec = await specOf(driver, service, onDemand, { env: { GREETING: "hello = there" } });
    const deployment = await driver.deploy(spec, call());
    const address = addressOf(deployment);
    t.strictSame(await get(address, "/square?number=4"), { result: 16 });
    t.match(await get(address, "/env"), { GREETING: "hello = there" });
    t.ok(deployment.phases.create > 0 && deployment.phases.boot > 0, "the phases are measured");
    t.strictSame(await driver.inspect(service, call()), { service, labels: spec.labels, running: true, address });
    t.strictSame(
      (await driver.list(call())).find((one) => one.service === service),
      { service, labels: spec.labels, running: true, address },
    );

    await t.test("deployed again, it is adopted", async (t) => {
      t.strictSame((await driver.deploy(spec, call())).address, address);
      t.strictSame(await harness.left(service), [service]);
    });
    await t.test("a berth that was started again adopts it too", async (t) => {
      const second = harness.open();
      t.strictSame((await second.deploy(spec, call())).address, address);
      t.strictSame((await second.inspect(service, call()))?.address, address);
      t.strictSame(await harness.left(service), [service]);
      await second.close();
    });
    await t.test("a newer generation replaces it", async (t) => {
      const newer = { ...spec, labels: labelsFor(service, 2), env: { GREETING: "newer" } };
      t.match(await get(addressOf(await driver.deploy(newer, call())), "/env"), { GREETING: "newer" });
      t.equal((await driver.inspect(service, call()))?.labels.generation, 2);
      t.strictSame(await harness.left(service), [service]);
    });
    await t.test("destroyed, nothing of it is left, and destroying it again is fine", async (t) => {
      await driver.destroy(service, call());
      t.strictSame(await harness.left(service), []);
      t.equal(await driver.inspect(service, call()), undefined);
      await driver.destroy(service, call());
    });
  });

  await t.test("two who deploy the same service at once get the same one", async (t) => {
    const service = name("twice");
    const spec = await specOf(driver, service, onDemand);
    const [one, two] = await Promise.all([driver.deploy(spec, call()), harness.open().deploy(spec, call())]);
    t.strictSame(one.address, two.address);
    t.strictSame(await harness.left(service), [service]);
    await driver.destroy(service, call());
  });

  await t.test("an unknown service is nothing, not a failure", async (t) => {
    const service = name("unknown");
    t.equal(await driver.inspect(service, call()), undefined);
    t.equal(await text(driver.logs(service, { tail: 10 }, call())), "");
    await driver.destroy(service, call());
  });

  await t.test("ready means that every connect from then on is accepted", async (t) => {
    const service = name("ready");
    for (let round = 0; round < 3; round++) {
      const address = addressOf(await driver.deploy(await specOf(driver, service, onDemand, { env: { BOOT_MS: "150" } }), call()));
      const connects = await Promise.all(Array.from({ length: 20 }, () => accepted(address)));
      t.equal(connects.filter(Boolean).length, 20);
      await driver.destroy(service, call());
    }
  });

  await t.test("an app that waits to be spoken to is ready", async (t) => {
    const service = name("tcp");
    const address = addressOf(await driver.deploy(await specOf(driver, service, await harness.image("tcpOnly")), call()));
    t.ok(await accepted(address));
    await driver.destroy(service, call());
  });

  await t.test("an app without a port is ready when it ran through its grace time", async (t) => {
    const service = name("worker");
    const spec = await specOf(driver, service, await harness.image("worker"));
    t.equal(spec.port, undefined);
    const deployment = await driver.deploy(spec, call());
    t.equal(deployment.address, undefined);
    t.ok(deployment.phases.boot >= spec.graceMs - 1);
    t.strictSame(await driver.inspect(service, call()), { service, labels: spec.labels, running: true });
    await driver.destroy(service, call());
  });

  await t.test("an app that crashes at start fails at once with its last lines, and nothing is left", async (t) => {
    const service = name("crash");
    const spec = await specOf(driver, service, await harness.image("crashing"));
    const fault = await rejectsWith(t, "CONTAINER_CRASHED", driver.deploy(spec, call()));
    t.strictSame(fault.logs, ["crash: reading settings", "crash: no database", "crash: giving up"]);
    t.match(fault.message, /exit code 7/);
    t.strictSame(await harness.left(service), []);
    await rejectsWith(t, "CONTAINER_CRASHED", driver.deploy({ ...spec, port: undefined }, call()));
    t.strictSame(await harness.left(service), []);
  });

  await t.test("a command that does not exist is a crash", async (t) => {
    const service = name("broken");
    await rejectsWith(t, "CONTAINER_CRASHED", driver.deploy(await specOf(driver, service, await harness.image("broken")), call()));
    t.strictSame(await harness.left(service), []);
  });

  await t.test("a start that is called off ends with the caller's reason, and nothing is left", async (t) => {
    const service = name("mute");
    const spec = await specOf(driver, service, await harness.image("mute"));
    const caller = new AbortController();
    const reason = new Error("enough");
    const start = driver.deploy(spec, { signal: caller.signal });
    start.catch(() => {});
    await until(t, "the service runs", async () => (await driver.inspect(service, call()))?.running === true);
    caller.abort(reason);
    t.equal(await start.catch((error: unknown) => error), reason);
    t.strictSame(await harness.left(service), []);
    t.equal(await driver.deploy(spec, { signal: caller.signal }).catch((error: unknown) => error), reason);
    t.strictSame(await harness.left(service), []);
  });

  await t.test("an image that nobody has is not found", async (t) => {
    await rejectsWith(t, "IMAGE_NOT_FOUND", driver.resolve(await harness.unknown(), call()));
  });

  await t.test("logs are the last lines, and go on while they are followed", async (t) => {
    const service = name("logs");
    await driver.deploy(await specOf(driver, service, await harness.image("worker"), { graceMs: 900 }), call());
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
  });

  await t.test("a death behind the driver's back is told, seen and repaired", async (t) => {
    const service = name("death");
    const caller = new AbortController();
    const seen: DriverEvent[] = [];
    const listening = (async () => {
      for await (const event of driver.events({ signal: caller.signal })) seen.push(event);
    })();
    await until(t, "connected", () => seen[0]?.kind === "connected");
    const spec = await specOf(driver, service, onDemand);
    await driver.deploy(spec, call());
    const told = () =>
      seen.filter((event) => event.kind === "changed" && event.service === service && event.container === spec.labels.container).length;
    await until(t, "the start was told", () => told() > 0);
    const before = told();
    await harness.kill(service);
    await until(t, "the death was told", () => told() > before);
    await until(t, "its end is known", async () => (await driver.inspect(service, call()))?.exit?.code === 137);
    const observed = (await driver.list(call())).find((one) => one.service === service);
    t.strictSame(observed, { service, labels: spec.labels, running: false, exit: { code: 137, outOfMemory: false } });
    const again = await driver.deploy(spec, call());
    t.strictSame(await get(addressOf(again), "/square?number=3"), { result: 9 });
    await driver.destroy(service, call());
    caller.abort();
    await listening;
  });

  await driver.close();
  t.strictSame(await harness.left(name("").slice(0, -1)), [], "nothing is left behind");
}
