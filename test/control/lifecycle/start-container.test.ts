import { createServer } from "node:net";
import t from "tap";
import { LIFECYCLE_LIMITS } from "../../../control/lifecycle/limits.ts";
import type { Spec } from "../../../drivers/driver.ts";
import { Fault } from "../../../lib/fault.ts";
import { crashing, listening, type MemoryApp, mute } from "../../fixtures/memory-driver.ts";
import { PASSWORD_REQUEST, STARTING_UP } from "../../fixtures/postgres-messages.ts";
import { openLifecycleFixture, USER } from "./lifecycle-fixture.ts";
import { turns } from "../../fixtures/clock.ts";
import { eventually, PATIENCE_MS } from "../../fixtures/eventually.ts";

const ON_DEMAND = { onDemand: true };

t.test("a hundred wakes start a container once, and it answers", async (t) => {
  const stand = await openLifecycleFixture(t);
  let instances = 0;
  const app: MemoryApp = {
    ...listening,
    run: (start) => {
      instances++;
      start.listen();
    },
  };
  const { id, service } = await stand.publish({ app, config: ON_DEMAND });
  for (let time = 0; time < 100; time++) await stand.lifecycle().wake(id, USER);
  const row = await stand.reaches(id, "STARTED");
  t.match(row, { desiredInstances: 1, requestedBy: USER, attempts: 0, runningGeneration: 1, fault: undefined });
  t.ok(row.addresses[0] && row.phases, "with its address and where the time went");
  t.equal(stand.world.callCount(`deploy ${service}`), 1);
  for (let time = 0; time < 100; time++) await stand.lifecycle().wake(id, USER);
  await stand.clock.advance(60_000);
  t.equal(instances, 1);
});

t.test("it gets its own variables after those that the installation injects", async (t) => {
  const stand = await openLifecycleFixture(t);
  let env: Record<string, string> = {};
  const app: MemoryApp = {
    ...listening,
    run: (start) => {
      env = start.env;
      start.listen();
    },
  };
  const { id } = await stand.publish({ app });
  await stand.start(id);
  t.same(env, { USER_API_KEY: `token-of-${USER}`, OWN: "yes" });
});

t.test("a container waits for its image, and starts when that is ready", async (t) => {
  const stand = await openLifecycleFixture(t);
  let states: string[] = [];
  // In one transaction, and read as soon as it is durable: nothing works on them in between.
  const { id, imageId } = await stand.store().transaction(async () => {
    const container = await stand.publish({ config: ON_DEMAND });
    await stand.lifecycle().wake(container.id, USER);
    stand.store().afterCommit(() => (states = [stand.row(container.id).state, stand.image(container.imageId).state]));
    return container;
  });
  t.match(states, ["PENDING_START", "PENDING_VALIDATION"]);
  await stand.reaches(id, "STARTED");
  t.match(stand.image(imageId), { state: "READY", exposed: [5353] });
  t.match(stand.image(imageId).logs, /exposes port 5353/);
});

t.test("a start that waits for its turn begins with the image as it is then, not as it was", async (t) => {
  const [held, validated] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isValidatedLate = false;
  const stand = await openLifecycleFixture(t, {
    limits: { startSlots: { total: 1, perUser: 1 } },
    driver: (driver) => ({
      ...driver,
      deploy: async (spec, call) => (await held.promise, driver.deploy(spec, call)),
      resolve: async (source, call) => {
        if (isValidatedLate) await validated.promise;
        return driver.resolve(source, call);
      },
    }),
  });
  const [first, second] = [await stand.publish({ name: "first", config: ON_DEMAND }), await stand.publish({ name: "second", config: ON_DEMAND })];
  const third = await stand.publish({ name: "third", config: ON_DEMAND });
  await eventually("ready", () => [first, second, third].every(({ imageId }) => stand.image(imageId).state === "READY"));
  await stand.lifecycle().wake(first.id, USER);
  await stand.reaches(first.id, "STARTING");
  await stand.lifecycle().wake(second.id, USER);
  await turns(50);
  isValidatedLate = true;
  await stand.lifecycle().requestValidation(second.imageId, USER);
  held.resolve();
  await stand.reaches(first.id, "STARTED");
  await turns(50);
  t.match([stand.row(second.id).state, stand.image(second.imageId).state], ["PENDING_START", "VALIDATING"]);
  await stand.wake(third.id);
  t.equal(stand.row(second.id).state, "PENDING_START", "meanwhile it leaves its turn to others");
  validated.resolve();
  await stand.reaches(second.id, "STARTED");
  t.equal((await stand.store().history.of(second.id)).filter(({ event }) => event === "startBegan").length, 1);
});

t.test("an image that does not exist is an error, for the containers that wait for it too", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, imageId } = await stand.publish({ config: ON_DEMAND });
  stand.world.apps.clear();
  await stand.lifecycle().wake(id, USER);
  t.match(await stand.reaches(id, "ERROR"), { fault: { code: "IMAGE_NOT_FOUND" }, desiredInstances: 1 });
  t.match(stand.image(imageId), { state: "ERROR", fault: { code: "IMAGE_NOT_FOUND" } });
});

t.test("an image that could not be had is looked for again by the next start, once the back-off has passed", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, imageId } = await stand.publish({ config: ON_DEMAND });
  const { ref } = stand.image(imageId);
  stand.world.apps.clear();
  await stand.lifecycle().wake(id, USER);
  await stand.reaches(id, "ERROR");
  stand.world.apps.set(ref, listening);
  await stand.clock.advance(1);
  await stand.lifecycle().requestStart(id, USER);
  await stand.clock.advance(998);
  t.match([stand.row(id).state, stand.world.callCount(`resolve ${ref}`)], ["PENDING_START", 1]);
  await stand.clock.advance(1);
  await stand.reaches(id, "STARTED");
  t.equal(stand.world.callCount(`resolve ${ref}`), 2);
});

t.test("a start that failed is remembered: a hundred requests within its back-off get the cause and start nothing", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish({ app: crashing, config: ON_DEMAND });
  await stand.lifecycle().wake(id, USER);
  const failed = await stand.reaches(id, "ERROR");
  t.match(failed, { desiredInstances: 1, attempts: 1, notBefore: stand.clock.now() + 1_000, lastLogs: "crash: giving up" });
  t.match(failed.fault, { code: "CONTAINER_CRASHED", logs: ["crash: giving up"] });
  for (let time = 0; time < 100; time++) {
    await t.rejects(() => stand.lifecycle().wake(id, USER), { code: "CONTAINER_CRASHED" });
    await stand.clock.advance(5);
  }
  t.equal(stand.world.callCount(`deploy ${service}`), 1);

  await t.test("after it, a request tries again, and the next back-off is longer", async (t) => {
    await stand.clock.advance(500);
    await stand.lifecycle().wake(id, USER);
    await eventually("a second start", () => stand.world.callCount(`deploy ${service}`) === 2);
    t.match(await stand.reaches(id, "ERROR"), { attempts: 2, notBefore: stand.clock.now() + 2_000 });
  });

  await t.test("a user's run within it waits for its end", async (t) => {
    await stand.lifecycle().requestStart(id, USER);
    await stand.clock.advance(1_999);
    t.equal(stand.row(id).state, "PENDING_START");
    t.equal(stand.world.callCount(`deploy ${service}`), 2);
    await stand.clock.advance(1);
    await stand.reaches(id, "ERROR");
    t.equal(stand.world.callCount(`deploy ${service}`), 3);
  });
});

t.test("a plain container in error is not woken by requests, and a run by its user recovers it", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, imageId } = await stand.publish({ app: crashing });
  await stand.lifecycle().requestStart(id, USER);
  await stand.reaches(id, "ERROR");
  await stand.clock.advance(120_000);
  await t.rejects(() => stand.lifecycle().wake(id, USER), { code: "CONTAINER_CRASHED" });
  stand.world.apps.set(stand.image(imageId).ref, listening);
  t.match(await stand.start(id), { fault: undefined });
});

t.test("a plain container that a user stopped is not woken", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish();
  await t.rejects(() => stand.lifecycle().wake(id, USER), { code: "CONTAINER_STOPPED" });
  await t.rejects(() => stand.lifecycle().wake("99999999-9999-4999-8999-999999999999", USER), { code: "CONTAINER_NOT_FOUND" });
});

t.test("a container that never answers ends in error at the status limit, and nothing of it is left", async (t) => {
  const stand = await openLifecycleFixture(t, { limits: { statusMs: 300_000 } });
  const { id, service } = await stand.publish({ app: mute, config: ON_DEMAND });
  await stand.lifecycle().wake(id, USER);
  await eventually("it runs", () => stand.world.running().includes(service));
  await stand.clock.advance(299_000);
  t.equal(stand.row(id).state, "STARTING");
  await stand.clock.advance(1_100);
  t.match(await stand.reaches(id, "ERROR"), { fault: { code: "START_TIMED_OUT", message: /within 300 s: .*on port 5353/ }, desiredInstances: 1 });
  t.same(stand.world.left(service), []);
});

t.test("an application that boots for two minutes starts, and until then its waiters get its progress and its log", async (t) => {
  const stand = await openLifecycleFixture(t);
  let boot: () => void = () => undefined;
  const slow: MemoryApp = {
    exposed: [5353],
    run: ({ say, listen }) => {
      say("loading the model");
      boot = () => listen();
    },
  };
  const { id, service } = await stand.publish({ app: slow, config: ON_DEMAND });
  const status = () => stand.lifecycle().startStatus(id, new AbortController().signal);
  t.equal(await status(), undefined, "one that does not start has none");
  const launchedAt = stand.clock.now();
  await stand.lifecycle().wake(id, USER);
  await eventually("it runs", () => stand.world.running().includes(service));
  await stand.clock.advance(60_000);
  t.same(await status(), {
    text: "It has been starting for 60 s, and nothing accepts connections on port 5353. berth connects to port 5353, as EXPOSE says. The start continues: try again.",
    logs: [`${new Date(launchedAt).toISOString()} loading the model`],
  });
  await stand.clock.advance(60_000);
  boot();
  await stand.clock.advance(1_000);
  await stand.reaches(id, "STARTED");
  t.equal(await status(), undefined);
  t.equal(stand.world.callCount(`deploy ${service}`), 1);
});

t.test("a stop during a start breaks it off at once", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish({ app: mute });
  await stand.lifecycle().requestStart(id, USER);
  await eventually("it runs", () => stand.world.running().includes(service));
  t.match(await stand.stop(id), { desiredInstances: 0, fault: undefined, attempts: 0 });
  t.same(stand.world.left(service), []);
});

t.test("a start that is requested during a stop follows it", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish();
  await stand.start(id);
  const gate = Promise.withResolvers<void>();
  stand.world.holdDestroy = gate.promise;
  await stand.lifecycle().requestStop(id, USER);
  await stand.reaches(id, "STOPPING");
  await stand.lifecycle().requestStart(id, USER);
  const settled = stand.lifecycle().settled(id, AbortSignal.timeout(PATIENCE_MS));
  gate.resolve();
  t.equal((await settled).state, "STARTED", "a waiting caller does not take the stop between for the end");
  t.equal(stand.world.callCount(`deploy ${service}`), 2);
});

t.test("a worker without a port starts by running through its grace time", async (t) => {
  const stand = await openLifecycleFixture(t, { limits: { graceMs: 3_000 } });
  const { id } = await stand.publish({ app: { exposed: [], run: () => {} } });
  await stand.lifecycle().requestStart(id, USER);
  await stand.reaches(id, "STARTING");
  await eventually("it is being started", () => stand.world.running().length === 1);
  await stand.clock.advance(2_900);
  t.equal(stand.row(id).state, "STARTING");
  await stand.clock.advance(200);
  t.match(await stand.reaches(id, "STARTED"), { addresses: { length: 0 } });
});

t.test("each driver call carries what the package, its image and the driver say about readiness, and a queue worker gets a whole core", async (t) => {
  const specs = new Map<string, Spec>();
  const envs: unknown[] = [];
  const stand = await openLifecycleFixture(t, {
    injectedEnv: ({ config }) => {
      envs.push(config.cpu);
      return {};
    },
    driver: (driver) => ({
      ...driver,
      resolve: async (image, call) => ({ ...(await driver.resolve(image, call)), command: image.ref.includes("celery") ? ["celery", "worker"] : [] }),
      deploy: (spec, call) => {
        specs.set(spec.labels.container, spec);
        return driver.deploy({ ...spec, readiness: { kind: "port" } }, call);
      },
    }),
  });
  const worker = await stand.publish({ name: "celery" });
  const web = await stand.publish({ config: { health: { path: "/health" } } });
  for (const { id } of [worker, web]) {
    await stand.lifecycle().requestStart(id, USER);
    await eventually("started", async () => {
      // Whether a worker listens takes a moment to show.
      await stand.clock.advance(50);
      return stand.row(id).state === "STARTED";
    });
  }
  t.match(specs.get(worker.id), { readiness: { kind: "running" }, port: 5353, cpu: 1, graceMs: LIFECYCLE_LIMITS.graceMs });
  t.match(specs.get(web.id), { readiness: { kind: "http", path: "/health", port: 5353 }, cpu: 0.5 });
  t.strictSame(envs, [1, 0.5], "its variables tell it so");
  t.match(stand.row(worker.id).deployed, { worker: "listens" });
  t.equal(stand.row(web.id).deployed?.worker, undefined);
  t.match(stand.image(worker.imageId), { command: ["celery", "worker"], logs: /queue worker: started without an open port, with at least 1 CPU/ });
});

t.test("a queue worker runs through its grace time, and no refused connection makes its address suspect", async (t) => {
  const stand = await openLifecycleFixture(t, { limits: { graceMs: 15_000 } });
  const { id, service } = await stand.publish({ config: { ...ON_DEMAND, worker: true } });
  await stand.lifecycle().wake(id, USER);
  await eventually("it runs", () => stand.world.running().includes(service));
  await stand.clock.advance(14_000);
  t.equal(stand.row(id).state, "STARTING");
  await stand.clock.advance(1_100);
  await eventually("started", async () => {
    await stand.clock.advance(50);
    return stand.row(id).state === "STARTED";
  });
  const started = stand.row(id);
  const { availability } = stand.lifecycle().viewOf(started);
  t.match(availability, { kind: "awake", worker: true });
  await stand.clock.advance(2_000);
  const before = stand.world.callCount(`inspect ${service}`);
  await stand.lifecycle().wake(id, USER);
  await eventually("the engine is queried", () => stand.world.callCount(`inspect ${service}`) > before);
  await turns(10);
  t.match(stand.row(id), { state: "STARTED", since: started.since, addresses: [{ port: Number }] });
  const signal = new AbortController().signal;
  t.match(await stand.lifecycle().startStatus(id, signal), { text: "It is a queue worker; nothing listens on port 5353." });
  t.match((await stand.lifecycle().explain(id, signal)).why, /^It was started for ada and runs\. It is a queue worker; listens on port 5353\.$/);
});

t.test("a driver's warning about a start is shown while the container runs, and ends with the next start", async (t) => {
  let warning: string | undefined = "Its HEALTHCHECK fails.";
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({ ...driver, deploy: async (spec, call) => ({ ...(await driver.deploy(spec, call)), warning }) }),
  });
  const { id } = await stand.publish();
  await stand.start(id);
  const why = async () => (await stand.lifecycle().explain(id, new AbortController().signal)).why;
  t.match(await why(), /accepts connections\. Its HEALTHCHECK fails\.$/);
  await stand.stop(id);
  warning = undefined;
  await stand.start(id);
  t.match(await why(), /accepts connections\.$/);
});

t.test("a caller who waits for a removed container is notified", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish({ app: mute });
  await stand.lifecycle().requestStart(id, USER);
  await eventually("it runs", () => stand.world.running().includes(service));
  const waiting = stand.lifecycle().settled(id, AbortSignal.timeout(PATIENCE_MS));
  await stand.lifecycle().remove(id);
  await t.rejects(waiting, { code: "CONTAINER_NOT_FOUND" });
  await eventually("its service is gone", async () => stand.world.left(service).length === 0 && (await stand.store().tombstones.open()).length === 0);
});

t.test("an image that left the engine after it was validated is fetched again for the next start", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, imageId } = await stand.publish({ config: ON_DEMAND });
  await eventually("valid", () => stand.image(imageId).state === "READY");
  const { ref } = stand.image(imageId);
  stand.world.apps.delete(ref);
  await stand.lifecycle().wake(id, USER);
  t.match(await stand.reaches(id, "ERROR"), { fault: { code: "IMAGE_NOT_FOUND" } });
  stand.world.apps.set(ref, listening);
  await eventually("looked at again", () => stand.image(imageId).state !== "READY");
  await stand.lifecycle().requestValidation(imageId);
  await stand.clock.advance(1_000);
  await stand.wake(id);
});

t.test("a start whose image was removed from the engine waits until the image is there again", async (t) => {
  let pulls = 0;
  let removals = 1;
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({
      ...driver,
      resolve: async (image, call) => {
        pulls++;
        return driver.resolve(image, call);
      },
      deploy: async (spec, call) => {
        // As `docker image prune -a` does with the images of containers that sleep.
        if (removals-- > 0) throw new Fault("IMAGE_NOT_FOUND", `The engine no longer has the image ${spec.image}.`);
        return driver.deploy(spec, call);
      },
    }),
  });
  const { id, imageId } = await stand.publish({ config: ON_DEMAND });
  await eventually("valid", () => stand.image(imageId).state === "READY");
  await stand.lifecycle().wake(id, USER);
  t.match(await stand.reaches(id, "STARTED"), { fault: undefined, attempts: 0 });
  t.equal(pulls, 2);
  const states = (await stand.store().history.of(id)).map(({ toState }) => toState);
  t.notOk(states.includes("ERROR"), "no request fails");

  await stand.lifecycle().requestStop(id, USER);
  await stand.reaches(id, "USER_STOPPED");
  removals = Number.POSITIVE_INFINITY;
  await stand.lifecycle().requestStart(id, USER);
  t.match(await stand.reaches(id, "ERROR"), { fault: { code: "IMAGE_NOT_FOUND" } }, "one that is removed again and again is an error");
  t.equal(pulls, 3);
});

t.test("a tag that moved replaces what runs from it", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, imageId } = await stand.publish();
  await stand.start(id);
  await stand.store().images.update(imageId, { resolvedId: "memory:something-older" });
  await stand.lifecycle().requestValidation(imageId);
  await eventually("replaced", () => stand.row(id).runningGeneration === 2);
  t.equal((await stand.reaches(id, "STARTED")).desiredInstances, 1);
});

t.test("a bug in what is injected fails the start without telling what it was", async (t) => {
  const stand = await openLifecycleFixture(t, {
    injectedEnv: () => {
      throw new Error("the password is hunter2");
    },
  });
  const { id } = await stand.publish();
  await stand.lifecycle().requestStart(id, USER);
  const { fault } = await stand.reaches(id, "ERROR");
  t.equal(fault?.code, "INTERNAL");
  t.notMatch(JSON.stringify(fault), /hunter2/);
});

/** The calls of one kind go unanswered until their limit, for as long as `silent`. */
const silence = () => {
  const engine = { silent: true, calls: 0 };
  const unanswered = () => {
    engine.calls++;
    if (engine.silent) throw new Fault("ENGINE_UNREACHABLE", "The engine did not answer within 30 s.", { retryAfterMs: 1_000 });
  };
  return { engine, unanswered };
};

t.test("a start that the engine does not answer in time goes on once it does", async (t) => {
  const { engine, unanswered } = silence();
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({ ...driver, deploy: async (spec, call) => (unanswered(), driver.deploy(spec, call)) }),
  });
  const { id } = await stand.publish({ config: ON_DEMAND });
  await stand.lifecycle().wake(id, USER);
  await eventually("called", () => engine.calls > 0);
  for (let calls = 2; calls < 6; calls++) {
    await stand.clock.advance(10_000);
    await eventually("called again", () => engine.calls >= calls);
    t.match(stand.row(id), { state: "STARTING", fault: { code: "ENGINE_UNREACHABLE" }, attempts: 0 });
  }
  engine.silent = false;
  await stand.clock.advance(60_000);
  t.match(await stand.reaches(id, "STARTED"), { fault: undefined, attempts: 0 });
  const events = await stand.store().history.of(id);
  t.notOk(events.some(({ event }) => event === "startFailed"));
});

t.test("a start that the engine never answers fails at the start's limit, with the engine as the cause", async (t) => {
  const { engine, unanswered } = silence();
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({ ...driver, deploy: async (spec, call) => (unanswered(), driver.deploy(spec, call)) }),
  });
  const { id } = await stand.publish({ config: ON_DEMAND });
  await stand.lifecycle().wake(id, USER);
  await eventually("called", () => engine.calls > 0);
  for (let seconds = 20; seconds < 295; seconds += 20) {
    await stand.clock.advance(20_000);
    t.equal(stand.row(id).state, "STARTING");
  }
  await stand.clock.advance(20_000);
  const { fault } = await stand.reaches(id, "ERROR");
  t.same(fault, { code: "ENGINE_UNREACHABLE", message: "The engine did not answer within 30 s." });
  t.equal((await stand.store().history.of(id)).at(-1)?.event, "startFailed");
});

t.test("a start whose container boots after the engine was silent has no cause of the engine's", async (t) => {
  const { engine, unanswered } = silence();
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({
      ...driver,
      deploy: async (spec, call) => {
        unanswered();
        call.onLaunched?.();
        return driver.deploy(spec, call);
      },
    }),
  });
  const { id, service } = await stand.publish({ app: mute, config: ON_DEMAND });
  await stand.lifecycle().wake(id, USER);
  await eventually("called", () => engine.calls > 0);
  engine.silent = false;
  await stand.clock.advance(1_000);
  await eventually("it boots", () => stand.world.running().includes(service));
  t.match(stand.row(id), { state: "STARTING", fault: undefined });
  await stand.clock.advance(300_000);
  t.match(await stand.reaches(id, "ERROR"), { fault: { code: "START_TIMED_OUT" } });
});

t.test("a stop ends a start that the engine does not answer", async (t) => {
  const { engine, unanswered } = silence();
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({ ...driver, deploy: async (spec, call) => (unanswered(), driver.deploy(spec, call)) }),
  });
  const { id } = await stand.publish();
  await stand.lifecycle().requestStart(id, USER);
  await eventually("called", () => engine.calls > 0);
  t.equal((await stand.stop(id)).desiredInstances, 0);
});

t.test("an image about which the engine answers late is resolved once it does, and who waits for it waits on", async (t) => {
  const { engine, unanswered } = silence();
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({ ...driver, resolve: async (image, call) => (unanswered(), driver.resolve(image, call)) }),
  });
  const { id, imageId } = await stand.publish({ config: ON_DEMAND });
  await stand.lifecycle().wake(id, USER);
  await eventually("called", () => engine.calls > 0);
  await stand.clock.advance(30_000);
  t.match([stand.row(id).state, stand.image(imageId)], ["PENDING_START", { state: "VALIDATING", fault: { code: "ENGINE_UNREACHABLE" } }]);
  engine.silent = false;
  await stand.clock.advance(60_000);
  await stand.reaches(id, "STARTED");
  t.match(stand.image(imageId), { state: "READY", fault: undefined });
});

t.test("a PostgreSQL behind a TCP listener counts as started when it accepts sessions, not when its port opens", async (t) => {
  const tcp = { ports: { first: 20_000, last: 20_001 }, host: "127.0.0.1", images: [] };
  const stand = await openLifecycleFixture(t, { tcp });
  let isStarting = true;
  let sessions = 0;
  const postgres = createServer((socket) => {
    socket
      .on("error", () => {})
      .once("data", () => {
        sessions++;
        if (isStarting) socket.end(STARTING_UP);
        else socket.write(PASSWORD_REQUEST);
      });
  });
  const app: MemoryApp = { exposed: [5432], run: ({ listen }) => listen(postgres) };
  const { id } = await stand.publish({ app, config: { onDemand: true, tcp: true } });
  await stand.lifecycle().wake(id, USER);
  await eventually("the first session to be refused", () => sessions > 0);
  t.equal(stand.row(id).state, "STARTING");
  await eventually("another attempt", async () => {
    await stand.clock.advance(1_000);
    return sessions > 1;
  });
  t.equal(stand.row(id).state, "STARTING");
  isStarting = false;
  await eventually("it to be started", async () => {
    await stand.clock.advance(1_000);
    return stand.row(id).state === "STARTED";
  });
});
