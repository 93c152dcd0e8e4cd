import { type Labels, STOP_GRACE_SECONDS } from "../../../drivers/driver.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { accepted, addressOf, call, get, labelsFor, rejectsWith, specOf, text, withoutInstance } from "./asking.ts";
import type { ConformanceTheme } from "./harness.ts";

/** What shells, templates of Swarm, references of Kubernetes and careless quoting would change. */
const ODD = '{{.Node.ID}} {{user}} }} {{ "{{" }} $(GREETING) $GREETING ${GREETING} %GREETING% \'one\' "two" \\n\n\tsecond line ü 漢 😀 =';

/** From the first deploy to the last destroy. */
export const LIFE: ConformanceTheme = {
  title: "A service's life",
  cases: [
    {
      id: "life",
      promise: "a deployed service answers at its address, is found with its labels, is adopted, replaced by a newer generation, and goes",
      run: async (t, { driver, harness, name }) => {
        const service = name("life");
        const spec = await specOf(driver, service, await harness.image("onDemand"), { env: { GREETING: "hello = there", ODD } });
        const deployment = await driver.deploy(spec, call());
        const address = addressOf(deployment);
        t.strictSame(await get(address, "/square?number=4"), { result: 16 });
        t.match(await get(address, "/env"), { GREETING: "hello = there", ODD }, "variables are as they were set");
        t.ok(deployment.phases.create > 0 && deployment.phases.boot > 0, "the phases are measured");
        const { instance } = deployment;
        t.type(instance, "string", "the instance is named");
        t.strictSame(await driver.inspect(service, call()), { service, labels: spec.labels, running: true, instance, addresses: [address] });
        t.strictSame(
          (await driver.list(call())).find((one) => one.service === service),
          { service, labels: spec.labels, running: true, instance, addresses: [address] },
        );
        await t.test("deployed again, it is adopted", async (t) => {
          const again = await driver.deploy(spec, call());
          t.strictSame([again.addresses[0], again.instance], [address, instance]);
          t.strictSame(await harness.left(service), [service]);
        });
        await t.test("a berth that was started again adopts it too", async (t) => {
          const second = harness.open();
          t.strictSame((await second.deploy(spec, call())).addresses[0], address);
          t.strictSame((await second.inspect(service, call()))?.addresses[0], address);
          t.strictSame(await harness.left(service), [service]);
          await second.close();
        });
        await t.test("a newer generation replaces it", async (t) => {
          const newer = { ...spec, labels: labelsFor(service, 2), env: { GREETING: "newer" } };
          t.match(await get(addressOf(await driver.deploy(newer, call())), "/env"), { GREETING: "newer" });
          t.equal((await driver.inspect(service, call()))?.labels.generation, 2);
          t.not((await driver.inspect(service, call()))?.instance, instance, "which is another instance");
          t.strictSame(await harness.left(service), [service]);
        });
        await t.test("destroyed, nothing of it is left, and destroying it again is fine", async (t) => {
          await driver.destroy(service, call());
          t.strictSame(await harness.left(service), []);
          t.equal(await driver.inspect(service, call()), undefined);
          await driver.destroy(service, call());
        });
      },
    },
    {
      id: "changed",
      promise: "a changed image, port or size takes the place of what ran",
      run: async (t, { driver, harness, name }) => {
        const service = name("changed");
        const first = await specOf(driver, service, await harness.image("onDemand"));
        await driver.deploy(first, call());
        const sizes = { labels: labelsFor(service, 2), env: { SECOND: "yes" }, memoryMb: 320, cpu: 0.25, shmMb: 32 };
        const second = await specOf(driver, service, await harness.image("plain"), sizes);
        t.not(second.image, first.image);
        t.not(second.port, first.port);
        const address = addressOf(await driver.deploy(second, call()));
        t.match(await get(address, "/env"), { SECOND: "yes" });
        t.strictSame(withoutInstance(await driver.inspect(service, call())), { service, labels: second.labels, running: true, addresses: [address] });
        const third = await specOf(driver, service, await harness.image("worker"), { labels: labelsFor(service, 3) });
        t.equal((await driver.deploy(third, call())).addresses[0], undefined, "without a port now");
        t.strictSame(withoutInstance(await driver.inspect(service, call())), { service, labels: third.labels, running: true, addresses: [] });
        t.strictSame(await harness.left(service), [service]);
        await driver.destroy(service, call());
      },
    },
    {
      id: "twice",
      promise: "two who deploy the same service at once get the same one",
      run: async (t, { driver, harness, name }) => {
        const service = name("twice");
        const spec = await specOf(driver, service, await harness.image("onDemand"));
        const [one, two] = await Promise.all([driver.deploy(spec, call()), harness.open().deploy(spec, call())]);
        t.strictSame(one.addresses[0], two.addresses[0]);
        t.strictSame(await harness.left(service), [service]);
        await driver.destroy(service, call());
      },
    },
    {
      id: "replicas",
      promise: "two services of one specification run beside each other, each at addresses of its own, and one stops while the other serves",
      run: async (t, { driver, harness, name }) => {
        t.ok(driver.replicas, "the driver declares them");
        const services = [name("replica-1"), name("replica-2")] as const;
        const source = await harness.image("onDemand");
        const deploy = async (service: string) => driver.deploy(await specOf(driver, service, source), call());
        const [first, second] = await Promise.all([deploy(services[0]), deploy(services[1])]);
        const kept = addressOf(second);
        t.notSame(addressOf(first), kept);
        t.not(first.instance, second.instance);
        for (const { addresses } of [first, second]) t.strictSame(await get(addressOf({ addresses }), "/square?number=3"), { result: 9 });
        const replies = Array.from({ length: 10 }, () => get(kept, "/square?number=4"));
        await driver.destroy(services[0], call());
        t.strictSame(new Set((await Promise.all(replies)).map((one) => JSON.stringify(one))), new Set(['{"result":16}']));
        t.strictSame(await driver.inspect(services[0], call()), undefined);
        const left = await driver.inspect(services[1], call());
        t.strictSame([left?.running, left?.instance, left?.addresses], [true, second.instance, [kept]]);
        await driver.destroy(services[1], call());
      },
    },
    {
      id: "ready",
      promise: "ready means that every connect from then on is accepted",
      run: async (t, { driver, harness, name }) => {
        const service = name("ready");
        for (let round = 0; round < 2; round++) {
          const spec = await specOf(driver, service, await harness.image("onDemand"), { env: { BOOT_MS: "150" } });
          const address = addressOf(await driver.deploy(spec, call()));
          const connects = await Promise.all(Array.from({ length: 20 }, () => accepted(address)));
          t.equal(connects.filter(Boolean).length, 20);
          await driver.destroy(service, call());
        }
      },
    },
    {
      id: "mute-protocol",
      promise: "an app that waits to be spoken to is ready",
      run: async (t, { driver, harness, name }) => {
        const service = name("tcp");
        const address = addressOf(await driver.deploy(await specOf(driver, service, await harness.image("tcpOnly")), call()));
        t.ok(await accepted(address));
        await driver.destroy(service, call());
      },
    },
    {
      id: "capabilities",
      promise: "an app may change its user and the owner of files, as images of databases do, and may neither use raw sockets nor gain rights",
      run: async (t, { driver, harness, name }) => {
        const service = name("capabilities");
        const address = addressOf(await driver.deploy(await specOf(driver, service, await harness.image("onDemand")), call()));
        const { capabilities, noNewPrivileges } = (await get(address, "/privileges")) as { capabilities: number[]; noNewPrivileges: boolean };
        for (const [needed, bit] of Object.entries({ CHOWN: 0, DAC_OVERRIDE: 1, FOWNER: 3, SETGID: 6, SETUID: 7, NET_BIND_SERVICE: 10 }))
          t.ok(capabilities.includes(bit), needed);
        for (const [dangerous, bit] of Object.entries({ NET_ADMIN: 12, NET_RAW: 13, SYS_PTRACE: 19, SYS_ADMIN: 21 }))
          t.notOk(capabilities.includes(bit), dangerous);
        t.equal(noNewPrivileges, true);
        await driver.destroy(service, call());
      },
    },
    {
      id: "grace",
      promise: "a service ends within its own grace time after SIGTERM, however long the usual one is, and is killed after it",
      run: async (t, { driver, harness, name }) => {
        const image = await harness.image("worker");
        const ended = async (what: string, END_MS: string, shutdownGraceSeconds: number) => {
          const service = name(what);
          await driver.deploy(await specOf(driver, service, image, { env: { END_MS }, shutdownGraceSeconds }), call());
          // It hears SIGTERM from then on.
          await eventually("its begin", async () => (await text(driver.logs(service, { tail: 10 }, call()))).includes("worker began"));
          const from = performance.now();
          await driver.destroy(service, call());
          t.strictSame(await harness.left(service), []);
          return performance.now() - from;
        };
        const [orderly, killed] = await Promise.all([ended("orderly", "3000", 60), ended("ignoring", "never", 1)]);
        t.ok(orderly >= 2_990, `it had ${orderly} ms of its 60 s, of which it needed 3`);
        t.ok(killed >= 990 && killed < STOP_GRACE_SECONDS * 1_000, `it had 1 s: ${killed} ms`);
      },
    },
    {
      id: "no-port",
      promise: "an app without a port is ready when it ran through its grace time",
      run: async (t, { driver, harness, name }) => {
        const service = name("worker");
        const spec = await specOf(driver, service, await harness.image("worker"));
        t.equal(spec.port, undefined);
        const deployment = await driver.deploy(spec, call());
        t.equal(deployment.addresses[0], undefined);
        t.ok(deployment.phases.boot >= spec.graceMs - 1);
        t.strictSame(withoutInstance(await driver.inspect(service, call())), { service, labels: spec.labels, running: true, addresses: [] });
        await driver.destroy(service, call());
      },
    },
    {
      id: "unknown",
      promise: "an unknown service is nothing, not a failure",
      run: async (t, { driver, name }) => {
        for (const service of [name("unknown"), `${name("odd")}_Name.x`, `../${name("odd")}`, "y".repeat(200)]) {
          t.equal(await driver.inspect(service, call()), undefined);
          t.equal(await text(driver.logs(service, { tail: 10 }, call())), "");
          await driver.destroy(service, call());
        }
      },
    },
    {
      id: "names",
      promise: "a name of 63 characters is taken; one that is no DNS label is refused, and nothing is made",
      run: async (t, { driver, harness, name }) => {
        const longest = name("long-").padEnd(63, "x");
        const spec = await specOf(driver, longest, await harness.image("worker"));
        await driver.deploy(spec, call());
        t.strictSame(await harness.left(longest), [longest]);
        await driver.destroy(longest, call());
        const odd = name("odd");
        for (const wrong of [`${longest}y`, `${odd}_x`, `${odd}.x`, `${odd}X`, `${odd}-`, `${odd} x`, `${odd}/x`, `${odd}ü`])
          await rejectsWith(t, "SPEC_REFUSED", driver.deploy({ ...spec, service: wrong }, call()));
        await rejectsWith(t, "SPEC_REFUSED", driver.deploy({ ...spec, service: "" }, call()));
        t.strictSame([...(await harness.left(longest)), ...(await harness.left(odd))], []);
      },
    },
    {
      id: "foreign-owner",
      promise:
        "what another store has created is listed with its labels, keeps its name for itself, and is removed on request, but neither removed nor read for another owner",
      run: async (t, { driver, harness, name }) => {
        const service = name("foreign");
        const spec = await specOf(driver, service, await harness.image("worker"));
        const labels = { ...spec.labels, store: "another-store", container: "its-container" };
        await driver.deploy({ ...spec, labels }, call());
        t.strictSame(withoutInstance((await driver.list(call())).find((one) => one.service === service)), {
          service,
          labels,
          running: true,
          addresses: [],
        });
        await rejectsWith(t, "SPEC_REFUSED", driver.deploy(spec, call()));
        t.strictSame(withoutInstance(await driver.inspect(service, call())), { service, labels, running: true, addresses: [] });
        await rejectsWith(t, "SPEC_REFUSED", driver.destroy(service, { ...call(), owner: spec.labels }));
        await rejectsWith(t, "SPEC_REFUSED", driver.destroy(service, { ...call(), owner: { ...labels, container: "another" } }));
        t.strictSame(withoutInstance(await driver.inspect(service, call())), { service, labels, running: true, addresses: [] });
        const logOf = (owner: Pick<Labels, "store" | "container">) => text(driver.logs(service, { tail: 10 }, { ...call(), owner }));
        await eventually("its owner reads its log", async () => (await logOf(labels)).includes("worker began"));
        t.equal(await logOf(spec.labels), "");
        t.equal(await logOf({ ...labels, container: "another" }), "");
        await driver.destroy(service, { ...call(), owner: labels });
        t.strictSame(await harness.left(service), []);
        await driver.destroy(service, { ...call(), owner: labels });
      },
    },
  ],
};
