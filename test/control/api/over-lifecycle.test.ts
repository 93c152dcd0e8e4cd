import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { openApi } from "../../../control/api/open-api.ts";
import { addConsole } from "../../../control/console/console-routes.ts";
import { createWarmUps } from "../../../control/lifecycle/warm-up.ts";
import { createIdentity } from "../../../control/identity/open-identity.ts";
import { createSigningKeys } from "../../../control/identity/signing-keys.ts";
import { openLifecycle } from "../../../control/lifecycle/open-lifecycle.ts";
import { openCredentials } from "../../../control/packages/credentials/open-credentials.ts";
import { openKeyFile } from "../../../control/packages/credentials/key-file.ts";
import { openVault } from "../../../control/packages/credentials/open-vault.ts";
import { openImporter } from "../../../control/packages/import/open-importer.ts";
import { openPublisher } from "../../../control/packages/publish/open-publisher.ts";
import { ZIP_LIMITS } from "../../../control/packages/publish/receive-upload.ts";
import { openWebhookSender } from "../../../control/webhooks/open-webhook-sender.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { createAuditLog } from "../../../control/store/audit.ts";
import { openStore } from "../../../control/store/open-store.ts";
import type { Driver, Observed, Spec } from "../../../drivers/driver.ts";
import { systemClock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import { openLog } from "../../../lib/log.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { makeZip } from "../packages/publish/fixtures/make-zip.ts";
import { callSocket, type SocketRequest } from "./fixtures/call-socket.ts";

/** An orchestrator in memory: whatever is deployed runs at once, but for images whose reference says that they crash. */
function memoryDriver(): Driver & { running: Map<string, Spec>; away: boolean } {
  const running = new Map<string, Spec>();
  const observe = ({ service, labels, port = 80 }: Spec): Observed => ({ service, labels, running: true, addresses: [{ host: "127.0.0.1", port }] });
  const driver: Driver & { running: Map<string, Spec>; away: boolean } = {
    running,
    away: false,
    name: "process",
    resolve: async ({ ref }) => {
      if (ref.includes("missing")) throw new Fault("IMAGE_NOT_FOUND", `There is no image ${ref}.`);
      return { id: `sha256:${ref}`, exposed: [80], command: [] };
    },
    deploy: async (spec, { signal }) => {
      if (driver.away) await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
      if (spec.image.includes("crash")) throw new Fault("CONTAINER_CRASHED", "It ended with code 1.", { logs: ["the last line"] });
      // What runs already is adopted.
      if (running.get(spec.service)?.labels.generation !== spec.labels.generation) running.set(spec.service, spec);
      return { addresses: [{ host: "127.0.0.1", port: spec.port ?? 80 }], phases: { create: 1, boot: 1 } };
    },
    destroy: async (service) => {
      if (driver.away) throw new Fault("ENGINE_UNREACHABLE", "The engine is away.");
      running.delete(service);
    },
    inspect: async (service) => {
      if (driver.away) throw new Fault("ENGINE_UNREACHABLE", "The engine is away.");
      const spec = running.get(service);
      return spec && observe(spec);
    },
    list: async () => [...running.values()].map(observe),
    logs: async function* (service) {
      if (running.has(service)) yield `logs of ${service}\n`;
    },
    events: async function* (call) {
      yield { kind: "connected" };
      await new Promise<void>((resolve) => call.signal.addEventListener("abort", () => resolve()));
    },
    close: async () => {},
  };
  return driver;
}

async function openControl(t: Test) {
  const folder = mkdtempSync(join(tmpdir(), "berth-api-"));
  const clock = systemClock();
  const log = openLog({ level: "silent", name: "test" });
  const store = await openStore({ folder, clock });
  const identity = createIdentity({ store, clock });
  const driver = memoryDriver();
  const lifecycle = await openLifecycle({ store, driver, clock, log, environment: "test", filesFolder: folder, injectedEnv: () => ({}) });
  const maxPackageBytes = 1_000_000;
  const vault = await openVault({ store, keyFile: openKeyFile(folder), given: [], log });
  const credentials = openCredentials({ store, vault, clock });
  const environment = "test";
  const publisher = await openPublisher({
    store,
    lifecycle,
    credentials,
    dataFolder: folder,
    environment,
    clock,
    maxPackageBytes,
    limits: ZIP_LIMITS,
  });
  const socketPath = join(folder, "api.sock");
  const api = await openApi(
    {
      socketPath,
      store,
      lifecycle,
      orphans: lifecycle,
      lastUse: () => undefined,
      warmUps: createWarmUps({
        store,
        lifecycle,
        driver,
        clock,
        log,
        options: { mode: "suggest", zone: "UTC", containers: 1, memoryPercent: 25 },
      }),
      effectiveSettings: [],
      changes: lifecycle,
      gateways: { openRequests: async () => [], recentRequests: async () => [], loads: async () => [], count: () => 0 },
      backend: { driver: "memory", environment, capacity: async () => undefined },
      identity,
      publisher,
      importer: openImporter({ store, driver, lifecycle, environment, clock }),
      credentials,
      vault,
      signingKeys: createSigningKeys({ store, vault, clock, log }),
      webhookSender: openWebhookSender({ store, vault, metrics: openMetrics(), clock, log }),
      audit: createAuditLog({ audit: store.audit, keepMs: 86_400_000, clock }),
      driverLogs: ({ service }, options, signal) => driver.logs(service, options, { signal }),
      settings: { webRoot: undefined, origins: [], version: "0.1.0", sessionMs: 86_400_000 },
      clock,
      log,
    },
    addConsole,
  );
  await lifecycle.start();
  t.teardown(async () => {
    await api.close();
    await lifecycle.close();
    await store.close();
    await rm(folder, { recursive: true });
  });
  const authorization = await identity.openSession((await identity.ensureAdmin("key")).id);
  const call = (path: string, callOptions: SocketRequest = {}) =>
    callSocket(socketPath, `/api${path}`, { ...callOptions, headers: { authorization, ...callOptions.headers } });
  return { driver, store, call };
}

const package1 = (app: object) =>
  makeZip({ "package.json": '{"name":"walk","version":"1.0.0"}', "dockerfiles/app/container.json": JSON.stringify(app) });

t.test("published, validated, started, read, stopped: through these calls alone", async (t) => {
  const { driver, store, call } = await openControl(t);
  const publish = async (app: object) => (await call("/packages/dev/walk", { method: "POST", body: await package1(app) })).json;
  const { containers, images } = await publish({ image: "app:1", port: 8080 });
  const [{ id, serviceName }] = containers;
  await eventually("the image is ready", async () => (await store.images.find(images[0].id))?.state === "READY");
  t.match((await call(`/docker/containers/${id}`)).json, { status: "stopped by user", dockerfile: { status: "ready", logs: /resolved/ } });

  t.match(await call(`/docker/containers/${id}/run?awaitStart=true`), { status: 200, json: { status: "started", address: "127.0.0.1", port: 8080 } });
  t.equal((await call(`/docker/containers/${id}/logs`)).text, `logs of ${serviceName}\n`);
  t.match(await call(`/docker/containers/${id}/run?awaitStart=true`), { status: 200 }, "once more is no mistake");

  t.match(await call(`/docker/containers/${id}/stop?awaitStop=true`), {
    status: 200,
    json: { status: "stopped by user", desiredInstances: 0, address: null },
  });
  t.equal(driver.running.size, 0);
  t.equal((await call(`/docker/containers/${id}/logs`)).text, `logs of ${serviceName}\n`, "its log tail is kept");
});

t.test("a package of many containers of one image has it resolved once", async (t) => {
  const { driver, store, call } = await openControl(t);
  const { resolve } = driver;
  const resolved: string[] = [];
  driver.resolve = (image, options) => (resolved.push(image.ref), resolve(image, options));
  const json = JSON.stringify({ image: "app:1" });
  const folders = Array.from({ length: 100 }, (_, n) => [`dockerfiles/app${n}/container.json`, json]);
  const body = await makeZip({ "package.json": '{"name":"walk","version":"1.0.0"}', ...Object.fromEntries(folders) });
  const publish = async () => {
    t.equal((await call("/packages/dev/walk", { method: "POST", body })).status, 200);
    await eventually("all are ready", async () => (await store.images.all()).every(({ state }) => state === "READY"));
  };
  await publish();
  t.strictSame(resolved, ["app:1"]);
  await publish();
  t.strictSame(resolved, ["app:1", "app:1"], "once more when it is published again");
});

t.test("a start that fails reports its cause to every waiting caller", async (t) => {
  const { call } = await openControl(t);
  for (const [image, code, innerMessage] of [
    ["crash:1", "CONTAINER_CRASHED", "the last line"],
    ["missing:1", "IMAGE_NOT_FOUND", ""],
  ] as const) {
    const { json } = await call("/packages/dev/walk", { method: "POST", body: await package1({ image }) });
    const answer = await call(`/docker/containers/${json.containers[0].id}/run?awaitStart=true`);
    t.match(answer, { status: 500, json: { "#type": "ApiError", code, innerMessage } }, image);
  }
});

t.test("published again, what runs is replaced by the new definition; no longer published, it is taken away", async (t) => {
  const { driver, store, call } = await openControl(t);
  const publish = async (body: Buffer) => (await call("/packages/dev/walk", { method: "POST", body })).json;
  const [{ id, serviceName }] = (await publish(await package1({ image: "app:1" }))).containers;
  await call(`/docker/containers/${id}/run?awaitStart=true`);
  t.equal(driver.running.get(serviceName)?.image, "sha256:app:1");

  await publish(await package1({ image: "app:2" }));
  await eventually("the new image runs", () => driver.running.get(serviceName)?.image === "sha256:app:2");
  t.equal((await store.containers.find(id))?.desiredInstances, 1);

  await publish(await makeZip({ "package.json": '{"name":"walk","version":"1.0.1"}' }));
  await eventually("nothing runs", () => driver.running.size === 0);
  t.equal((await call(`/docker/containers/${id}`)).status, 404);
  t.equal((await publish(await package1({ image: "app:1" }))).containers[0].id, id, "it comes back under its id");
});

t.test("deleted while the engine is away, and published again before it is back: what runs then is the new definition", async (t) => {
  const { driver, call } = await openControl(t);
  const publish = async (image: string) => (await call("/packages/dev/walk", { method: "POST", body: await package1({ image }) })).json.containers[0];
  const { id, serviceName } = await publish("app:1");
  await call(`/docker/containers/${id}/run?awaitStart=true`);
  driver.away = true;
  await call(`/docker/containers/${id}`, { method: "DELETE" });
  t.equal((await publish("app:2")).id, id);
  const started = call(`/docker/containers/${id}/run?awaitStart=true`);
  driver.away = false;
  t.match((await started).json, { status: "started" });
  t.equal(driver.running.get(serviceName)?.image, "sha256:app:2");
});

t.test("a caller who waits for a start gets an error when the container is deleted", async (t) => {
  const { driver, store, call } = await openControl(t);
  const [{ id }] = (await call("/packages/dev/walk", { method: "POST", body: await package1({ image: "app:1" }) })).json.containers;
  await eventually("the image is ready", async () => (await store.images.all())[0]?.state === "READY");
  driver.away = true;
  const started = call(`/docker/containers/${id}/run?awaitStart=true`);
  await eventually("the start is requested", async () => (await store.containers.find(id))?.desiredInstances === 1);
  await call(`/docker/containers/${id}`, { method: "DELETE" });
  t.match(await started, { status: 400, json: { "#type": "ApiError", code: "REQUEST_INVALID" } });
});
