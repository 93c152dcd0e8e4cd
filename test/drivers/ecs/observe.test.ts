import { CreateServiceCommand, ECSClient, RegisterTaskDefinitionCommand } from "@aws-sdk/client-ecs";
import t from "tap";
import { batchCalls, createRateLimit } from "../../../drivers/ecs/aws.ts";
import type { Driver, DriverEvent } from "../../../drivers/driver.ts";
import { clockFrom, systemClock } from "../../../lib/clock.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { call, labelsFor, namer, specOf, text } from "../conformance.ts";
import { denied } from "./answer.ts";
import { CLUSTER, EXEC_ROLE, openStand, REGION, type EcsFixture } from "./fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const name = namer("look");
const WORKER = { ref: "berth-test/worker:1" };

/** A service as every user with these rights could make it, beside the driver; its image exists nowhere, so it runs nothing. */
async function make(stand: EcsFixture, service: string, tags: { key: string; value: string }[], more: object = {}) {
  const client = new ECSClient({
    region: REGION,
    endpoint: stand.url,
    maxAttempts: 1,
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
  });
  try {
    const containerDefinitions = [{ name: "x", image: "absent/nothing:1", memory: 512 }];
    const base = {
      family: service,
      networkMode: "awsvpc",
      requiresCompatibilities: ["FARGATE"],
      cpu: "256",
      memory: "512",
      containerDefinitions,
      tags,
    };
    const { taskDefinition } = await client.send(new RegisterTaskDefinitionCommand({ ...base, ...more } as never));
    const awsvpcConfiguration = { subnets: stand.subnets, securityGroups: stand.securityGroups };
    const creation = {
      cluster: CLUSTER,
      serviceName: service,
      taskDefinition: taskDefinition?.taskDefinitionArn,
      desiredCount: 1,
      launchType: "FARGATE",
      tags,
    };
    await client.send(new CreateServiceCommand({ ...creation, networkConfiguration: { awsvpcConfiguration } } as never));
  } finally {
    client.destroy();
  }
}

/** The driver's events until `end`. */
function listen(driver: Driver) {
  const caller = new AbortController();
  const events: DriverEvent[] = [];
  const listening = (async () => {
    for await (const event of driver.events({ signal: caller.signal })) events.push(event);
  })();
  const end = async () => {
    caller.abort();
    await listening;
  };
  return { events, end };
}

const CALLER = { key: "caller", value: "grok_spawner" };

function ours(service: string): { key: string; value: string }[] {
  const { store, environment, container, generation } = labelsFor(service);
  const labels = { store, environment, container, generation: String(generation) };
  return [CALLER, ...Object.entries(labels).map(([key, value]) => ({ key: `berth.${key}`, value }))];
}

t.test("looks", async (t) => {
  const stand = await openStand(t, ["worker"], { restartMs: 2_500 });
  const driver = stand.open();

  await t.test("the stand refuses what AWS would", async (t) => {
    const service = name("refused");
    await t.rejects(make(stand, service, []), { name: "AccessDeniedException" }, "no tag");
    await t.rejects(make(stand, service, [{ key: "caller", value: "another" }]), { name: "AccessDeniedException" }, "another tag");
    await t.rejects(make(stand, service, [CALLER], { memory: "4096" }), { name: "ClientException" }, "no size of Fargate's");
    await t.rejects(make(stand, service, [CALLER], { ephemeralStorage: { sizeInGiB: 20 } }), { name: "ClientException" }, "too little disk");
    await t.rejects(make(stand, service, [CALLER], { networkMode: "elsewhere" }), { name: "InvalidParameterException" }, "no value of the API's");
    await t.rejects(make(stand, service, [CALLER], { volumes: [{ name: "x", host: { sourcePath: 7 } }] }), "not of the API's type");
    t.match(stand.requests.at(-1)?.action, "RegisterTaskDefinition");
    await make(stand, service, [CALLER], { executionRoleArn: EXEC_ROLE });
    await t.rejects(make(stand, service, [CALLER]), { name: "InvalidParameterException" }, "the name is taken");
  });

  await t.test("all services are found, page by page and ten at a time, and only ours", async (t) => {
    const services = Array.from({ length: 12 }, (_, at) => name(`of-many-${at}`));
    for (const service of services) await make(stand, service, ours(service));
    const spec = await specOf(driver, name("of-many-that-runs"), WORKER);
    await driver.deploy(spec, call());
    stand.ecs.pageSize = 5;
    const from = stand.requests.length;
    const listed = await driver.list(call());
    stand.ecs.pageSize = 100;
    t.strictSame(listed.map(({ service }) => service).toSorted(), [...services, spec.service].toSorted());
    t.match(
      listed.filter(({ running }) => running),
      [{ service: spec.service, labels: spec.labels, running: true }],
    );
    const actions = stand.requests.slice(from).map(({ action }) => action);
    const count = (action: string) => actions.filter((one) => one === action).length;
    t.equal(count("ListServices"), 3);
    t.equal(count("DescribeServices"), 2);
    // One page of what lives, two for each that does not run.
    t.equal(count("ListTasks"), 1 + 12 * 2);
    for (const service of [...services, spec.service]) await driver.destroy(service, call());
    t.strictSame(await driver.list(call()), []);
  });

  await t.test("looks at the same time share what they ask", async (t) => {
    const services = Array.from({ length: 12 }, (_, at) => name(`at-once-${at}`));
    for (const service of services) await make(stand, service, ours(service));
    const from = stand.requests.length;
    const observed = await Promise.all(services.map(async (service) => driver.inspect(service, call())));
    t.strictSame(
      observed.map((one) => one?.service),
      services,
    );
    const sizes = stand.requests
      .slice(from)
      .flatMap(({ action, body }) => (action === "DescribeServices" ? [(body["services"] as string[]).length] : []));
    t.strictSame(sizes, [10, 2]);
    for (const service of services) await driver.destroy(service, call());
  });

  await t.test("what berth did not make does not exist for it", async (t) => {
    const service = name("foreign");
    await make(stand, service, [CALLER]);
    t.equal(await driver.inspect(service, call()), undefined);
    t.equal(await text(driver.logs(service, { tail: 10 }, call())), "");
    await driver.destroy(service, call());
    t.equal(stand.services.get(service)?.status, "ACTIVE");
  });

  await t.test("events that are lost for a while are reported as lost, come back, and say that all must be looked at", async (t) => {
    t.equal(driver.watchedAddresses, true, "AWS gives the address of an ended task to others");
    const { events, end } = listen(driver);
    const kinds = () => events.filter(({ kind }) => kind !== "changed").map(({ kind }) => kind);
    await eventually("connected", () => kinds().length === 1);
    stand.answers = ({ action }) => (action === "ListServices" ? denied("ecs:ListServices") : undefined);
    const from = stand.requests.length;
    await eventually("it tried again and again", () => stand.requests.slice(from).filter(({ action }) => action === "ListServices").length > 3);
    t.strictSame(kinds(), ["connected", "disconnected"], "once, whatever the number of attempts");
    const service = name("unheard");
    await make(stand, service, ours(service));
    stand.answers = () => undefined;
    await eventually("connected again", () => kinds().length === 3);
    t.equal(kinds().at(-1), "connected");
    await driver.destroy(service, call());
    await eventually("its end is reported", () => events.some((event) => event.kind === "changed" && event.service === service));
    await end();
  });

  await t.test("a poll that AWS does not answer is reported long before the client gives it up", async (t) => {
    const system = systemClock();
    // The time after which a poll counts as unanswered; calls themselves wait for longer.
    const hasty = clockFrom({ ...system, after: (ms, task) => system.after(ms > 10_000 && ms < 40_000 ? 500 : ms, task) });
    const { events, end } = listen(stand.open({ clock: hasty }));
    await eventually("connected", () => events.length === 1);
    const { promise: silence, resolve: speak } = Promise.withResolvers<undefined>();
    stand.answers = ({ action }) => (action === "ListServices" ? silence : undefined);
    await eventually("disconnected", () => events.length === 2);
    t.strictSame(events.at(-1), { kind: "disconnected" });
    stand.answers = () => undefined;
    speak(undefined);
    await eventually("connected by the answer to that poll", () => events.length === 3);
    t.strictSame(events.at(-1), { kind: "connected" });
    await end();
  });

  await t.test("an API that answers each poll late is reported once", async (t) => {
    const system = systemClock();
    // As above; and each poll seems to take forty times as long.
    const hasty = clockFrom({
      ...system,
      monotonic: () => 40 * system.monotonic(),
      after: (ms, task) => system.after(ms > 10_000 && ms < 25_000 ? 500 : ms, task),
    });
    const polls = () => stand.requests.filter(({ action }) => action === "ListServices").length;
    stand.answers = ({ action }) => (action === "ListServices" ? system.sleep(800).then(() => undefined) : undefined);
    const { events, end } = listen(stand.open({ clock: hasty }));
    await eventually("connected by the answer to the first poll", () => events.length === 2);
    const from = polls();
    await eventually("further polls", () => polls() >= from + 3);
    t.strictSame(
      events.map(({ kind }) => kind),
      ["disconnected", "connected"],
    );
    stand.answers = () => undefined;
    await end();
  });

  await t.test("the logs of a dead one can be read, and following them ends", async (t) => {
    const service = name("dead");
    await driver.deploy(await specOf(driver, service, WORKER, { graceMs: 500 }), call());
    await eventually("its first line is written", async () => (await text(driver.logs(service, { tail: 100 }, call()))).startsWith("worker began\n"));
    const following = text(driver.logs(service, { tail: 0, follow: true }, call()));
    await eventually("it works", async () => (await text(driver.logs(service, { tail: 100 }, call()))).includes("job 8"));
    stand.scheduler.kill(service);
    t.match(await following, /^worker did job \d+\n(worker did job \d+\n)*$/);
    t.match(await text(driver.logs(service, { tail: 1_000 }, call())), /^worker began\nworker did job 1\n/);
    t.match(await text(driver.logs(service, { tail: 1 }, call())), /^worker did job \d+\n$/);
    await driver.destroy(service, call());
    t.equal(await text(driver.logs(service, { tail: 10 }, call())), "");
  });

  await t.test("while its successor starts, a dead one's lines and exit code are reported", async (t) => {
    const service = name("succeeded");
    const spec = await specOf(driver, service, WORKER);
    await driver.deploy(spec, call());
    await eventually("ECS is content", () => stand.services.get(service)?.rolloutState === "COMPLETED");
    await eventually("its first line is written", async () => (await text(driver.logs(service, { tail: 100 }, call()))).startsWith("worker began\n"));
    stand.fates.set(service, { pending: true });
    stand.restartMs = 0;
    stand.scheduler.kill(service);
    await eventually(
      "its successor starts",
      () =>
        stand.services.has(service) && stand.scheduler.tasks().some((task) => task.group === `service:${service}` && task.lastStatus === "PENDING"),
    );
    t.strictSame(await driver.inspect(service, call()), {
      service,
      labels: spec.labels,
      running: false,
      addresses: [],
      exit: { code: 137, outOfMemory: false },
    });
    t.match(await text(driver.logs(service, { tail: 100 }, call())), /^worker began\n/);
    await driver.destroy(service, call());
    stand.restartMs = 2_500;
  });

  await t.test("logs outside our groups cannot be read, and the missing right is reported", async (t) => {
    const service = name("no-logs");
    await driver.deploy(await specOf(driver, service, WORKER), call());
    stand.answers = ({ api }) => (api === "logs" ? denied("logs:GetLogEvents") : undefined);
    await t.rejects(text(driver.logs(service, { tail: 10 }, call())), { code: "ENGINE_ACTION_DENIED", message: /logs:GetLogEvents/ });
    stand.answers = () => undefined;
    const without = stand.open({ logGroup: undefined });
    t.equal(await text(without.logs(service, { tail: 10 }, call())), "");
    await driver.destroy(service, call());
  });
});

t.test("calls come in bursts and then at their pace, and one that is called off waits no longer", async (t) => {
  const clock = createStillClock();
  const turn = createRateLimit({ perSecond: 10, burst: 3, clock });
  let passed = 0;
  const turns = Array.from({ length: 5 }, async () => turn().then(() => passed++));
  await Promise.all(turns.slice(0, 3));
  t.equal(passed, 3);
  await clock.advance(100);
  await turns[3];
  t.equal(passed, 4);
  const caller = new AbortController();
  const waiting = turn(caller.signal);
  caller.abort(new Error("enough"));
  await t.rejects(waiting, { message: "enough" });
  await clock.advance(100);
  await turns[4];
  t.equal(passed, 5);
});

t.test("single queries are sent together", async (t) => {
  const clock = createStillClock();
  const batches: string[][] = [];
  let fail: Error | undefined;
  const one = batchCalls<string>({
    most: 3,
    windowMs: 20,
    clock,
    query: async (keys) => {
      batches.push(keys);
      if (fail) throw fail;
      return new Map(keys.filter((key) => key !== "unknown").map((key) => [key, key.toUpperCase()]));
    },
  });
  const first = Promise.all([one("a"), one("unknown"), one("a")]);
  await clock.advance(19);
  t.strictSame(batches, [], "it waits for others");
  await clock.advance(1);
  t.strictSame(await first, ["A", undefined, "A"]);
  t.strictSame(batches, [["a", "unknown"]]);

  t.strictSame(await Promise.all(["b", "c", "d"].map(async (key) => one(key))), ["B", "C", "D"], "at once, where it is as many as may be");
  t.equal(clock.pending(), 0);

  const caller = new AbortController();
  const [off, on] = [one("e", caller.signal), one("f")];
  caller.abort(new Error("enough"));
  await t.rejects(off, { message: "enough" });
  await t.rejects(one("g", caller.signal), { message: "enough" });
  await clock.advance(20);
  t.equal(await on, "F");

  fail = new Error("away");
  const failing = [one("h"), one("i")];
  const outcomes = Promise.allSettled(failing);
  await clock.advance(20);
  t.strictSame(
    (await outcomes).map(({ status }) => status),
    ["rejected", "rejected"],
  );
});
