import { CHECK, CHECK_TIMES } from "../../fixtures/images.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { freePort } from "../../fixtures/server.ts";
import { accepted, addressOf, call, get, rejectsWith, specOf, untimed, withoutInstance } from "./asking.ts";
import type { ConformanceTheme } from "./harness.ts";

const HEALTH = { kind: "http" as const, path: "/health", intervalMs: 60_000, timeoutMs: 5_000 };
/** Longer than any test. */
const NEVER = "1000000000";

/** What a container must show before it counts as started. */
export const READINESS: ConformanceTheme = {
  title: "Readiness",
  cases: [
    {
      id: "worker-port",
      promise: "a queue worker whose declared port stays closed is ready after its grace time, keeps its address, and goes on",
      run: async (t, { driver, harness, name }) => {
        const service = name("worker-port");
        const spec = await specOf(driver, service, await harness.image("mute"), { readiness: { kind: "running" } });
        const deployment = await driver.deploy(spec, call());
        const address = addressOf(deployment);
        t.ok(deployment.phases.boot >= spec.graceMs - 1);
        t.equal(await accepted(address), false, "nothing listens there");
        t.strictSame(withoutInstance(await driver.inspect(service, call())), { service, labels: spec.labels, running: true, addresses: [address] });
        t.equal((await driver.deploy(spec, call())).instance, deployment.instance, "deployed again, it is adopted");
        await driver.destroy(service, call());
      },
    },
    {
      id: "worker-crash",
      promise: "a queue worker that ends within its grace time has crashed, with its last lines, and nothing is left",
      run: async (t, { driver, harness, name }) => {
        const service = name("worker-crash");
        const spec = await specOf(driver, service, await harness.image("crashing"), { readiness: { kind: "running" }, graceMs: 20_000 });
        const fault = await rejectsWith(t, "CONTAINER_CRASHED", driver.deploy(spec, call()));
        t.strictSame(untimed(t, harness, fault.logs), ["crash: reading settings", "crash: no database", "crash: giving up"]);
        t.strictSame(await harness.left(service), []);
      },
    },
    {
      id: "http",
      promise: "with an HTTP check a container is ready when it answers 2xx or 3xx, and not when its port is open",
      run: async (t, { driver, harness, name }) => {
        const service = name("http");
        const env = { HEALTH_FAILURES: "3" };
        const spec = await specOf(driver, service, await harness.image("onDemand"), { readiness: HEALTH, env });
        const address = addressOf(await driver.deploy(spec, call()));
        t.equal((await fetch(`http://${address.host}:${address.port}/health`)).status, 200);
        t.ok(((await get(address, "/health-requests")) as number) > 3, "it received requests until then");
        await driver.destroy(service, call());
      },
    },
    {
      id: "http-fails",
      promise: "while its HTTP check answers 503 a container is not ready; at the caller's limit nothing is left",
      run: async (t, { driver, harness, name }) => {
        const service = name("http-fails");
        const spec = await specOf(driver, service, await harness.image("onDemand"), { readiness: HEALTH, env: { HEALTH_MS: NEVER } });
        const caller = new AbortController();
        const reason = new Error("the limit");
        const start = driver.deploy(spec, { signal: caller.signal });
        const settled = start.then(
          () => "ready",
          (error: unknown) => error,
        );
        await eventually("it receives more requests", async () => {
          const [address] = (await driver.inspect(service, call()))?.addresses ?? [];
          return address !== undefined && (await accepted(address)) && ((await get(address, "/health-requests")) as number) > 5;
        });
        caller.abort(reason);
        t.equal(await settled, reason);
        t.strictSame(await harness.left(service), []);
      },
    },
    {
      id: "health-status",
      promise: "what an app answers to its HTTP check before it is ready is reported",
      run: async (t, { driver, harness, name }) => {
        const service = name("health-status");
        const spec = await specOf(driver, service, await harness.image("onDemand"), { readiness: HEALTH, env: { HEALTH_MS: NEVER } });
        const caller = new AbortController();
        const reason = new Error("it was reported");
        let reported: number | undefined;
        const onHealthStatus = (status: number) => {
          reported = status;
          caller.abort(reason);
        };
        t.equal(
          await driver.deploy(spec, { signal: AbortSignal.any([caller.signal, call().signal]), onHealthStatus }).catch((error) => error),
          reason,
        );
        t.equal(reported, 503);
        t.strictSame(await harness.left(service), []);
      },
    },
    {
      id: "http-own-port",
      promise: "an HTTP check may ask another port than the container's own",
      run: async (t, { driver, harness, name }) => {
        const service = name("http-port");
        const port = await freePort();
        const env = { HEALTH_FAILURES: "1", HEALTH_PORT: String(port) };
        const spec = await specOf(driver, service, await harness.image("onDemand"), { readiness: { ...HEALTH, port }, env });
        const address = addressOf(await driver.deploy(spec, call()));
        t.not(address.port, port);
        t.ok(((await get(address, "/health-requests")) as number) > 1);
        await driver.destroy(service, call());
      },
    },
    {
      id: "healthcheck",
      promise: "with the image's own health check a container is ready as soon as that succeeds",
      run: async (t, { driver, harness, name }) => {
        t.equal(driver.healthchecks, true);
        for (const image of ["checked", "httpChecked"] as const) {
          const service = name(image.toLowerCase());
          const source = await harness.image(image);
          const spec = await specOf(driver, service, source, { readiness: { kind: "healthcheck" }, env: { HEALTH_MS: "1500" } });
          const deployment = await driver.deploy(spec, call());
          const address = addressOf(deployment);
          t.equal((await fetch(`http://${address.host}:${address.port}/health`)).status, 200, image);
          t.equal(deployment.warning, undefined);
          t.ok(deployment.phases.boot < 15_000, "long before the check's own interval");
          await driver.destroy(service, call());
        }
      },
    },
    {
      id: "healthcheck-fails",
      promise: "a container whose own health check fails is ready when its port has been open for a while, with a warning",
      run: async (t, { driver, harness, name }) => {
        const service = name("unhealthy");
        const spec = await specOf(driver, service, await harness.image("checked"), { readiness: { kind: "healthcheck" }, env: { HEALTH_MS: NEVER } });
        const deployment = await driver.deploy(spec, call());
        t.match(deployment.warning, /HEALTHCHECK fails \(exit code 1\).*container\.json/);
        t.ok(await accepted(addressOf(deployment)));
        await driver.destroy(service, call());
      },
    },
    {
      id: "image-config",
      promise: "an image is resolved with its command and its health check",
      run: async (t, { driver, harness }) => {
        const { command, healthcheck } = await driver.resolve(await harness.image("checked"), call());
        t.strictSame(command, ["node", "/app/app.js"]);
        t.strictSame(healthcheck, { test: ["CMD", ...CHECK], ...CHECK_TIMES });
        t.equal((await driver.resolve(await harness.image("plain"), call())).healthcheck, undefined);
      },
    },
    {
      id: "usage",
      promise: "what a container uses is reported while it runs",
      run: async (t, { driver, harness, name }) => {
        const service = name("usage");
        t.equal(await driver.usage?.(service, call()), undefined, "nothing of an unknown service");
        const spec = await specOf(driver, service, await harness.image("onDemand"));
        const address = addressOf(await driver.deploy(spec, call()));
        const usage = () => eventually("its use is known", async () => driver.usage?.(service, call()));
        const before = await usage();
        await eventually("its use of the processor shows", async () => {
          t.equal(await (await fetch(`http://${address.host}:${address.port}/burn?ms=300`)).text(), "burnt");
          const { cpuMs, windowMs } = await usage();
          return windowMs === undefined ? cpuMs >= before.cpuMs + 200 : cpuMs / windowMs > 0.05;
        });
        await driver.destroy(service, call());
        t.equal(await driver.usage?.(service, call()), undefined);
      },
    },
  ],
};
