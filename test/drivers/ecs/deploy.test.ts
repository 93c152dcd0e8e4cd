import { RegisterContainerInstanceCommand } from "@aws-sdk/client-ecs";
import { RunInstancesCommand } from "@aws-sdk/client-ec2";
import t, { type Test } from "tap";
import type { Driver, Spec } from "../../../drivers/driver.ts";
import type { Log } from "../../../lib/log.ts";
import { call, get, namer, rejectsWith, specOf, text } from "../conformance.ts";
import { denied, failure, throttled } from "./answer.ts";
import { CLUSTER, openStand, type EcsFixture } from "./fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const name = namer("start");
const IMAGE = { ref: "berth-test/ondemand:1" };
const USER = "User: arn:aws:sts::123456789012:assumed-role/tasks/x is not authorized to perform:";

/** What there is of a service: nothing, once a start failed or it was destroyed. */
function left(stand: EcsFixture, service: string): unknown {
  const kept = stand.services.get(service);
  return kept && stand.scheduler.live(kept).length === 0 && kept.status !== "ACTIVE" ? undefined : kept?.status;
}

function requestsOf(stand: EcsFixture, action: string, service: string) {
  return stand.requests
    .filter((one) => one.action === action && [one.body["serviceName"], one.body["family"]].includes(service))
    .map(({ body }) => body);
}

async function runs(t: Test, driver: Driver, spec: Spec): Promise<void> {
  const {
    addresses: [address],
  } = await driver.deploy(spec, call());
  t.strictSame(await get(address as { host: string; port: number }, "/square?number=2"), { result: 4 });
}

t.test("starts", async (t) => {
  const stand = await openStand(t, ["onDemand", "crashing"], { restartMs: 200 });
  const driver = stand.open();

  await t.test("what is made bears the caller's tag, a breaker that counts to one, and addresses of its own", async (t) => {
    const service = name("made");
    await runs(t, driver, await specOf(driver, service, IMAGE));
    const [made] = requestsOf(stand, "CreateService", service);
    const [definition] = requestsOf(stand, "RegisterTaskDefinition", service);
    const caller = { key: "caller", value: "grok_spawner" };
    t.match(made, {
      desiredCount: 1,
      launchType: "FARGATE",
      tags: [caller],
      deploymentConfiguration: { deploymentCircuitBreaker: { enable: true, rollback: true, thresholdConfiguration: { type: "COUNT", value: 1 } } },
      networkConfiguration: { awsvpcConfiguration: { subnets: stand.subnets, securityGroups: stand.securityGroups, assignPublicIp: "DISABLED" } },
      clientToken: /^[\x21-\x7e]{1,36}$/,
    });
    t.match(definition, {
      networkMode: "awsvpc",
      cpu: "512",
      memory: "1024",
      ephemeralStorage: { sizeInGiB: 21 },
      tags: [caller],
      containerDefinitions: [{ memory: 256, cpu: 512, logConfiguration: { options: { "awslogs-stream-prefix": "grok_spawner" } } }],
    });
    await driver.destroy(service, call());
  });

  await t.test("ECS's reason for a task that did not start is passed on, and nothing is left", async (t) => {
    const cases = [
      ["IMAGE_NOT_FOUND", { stoppedReason: "CannotPullContainerError: failed to resolve ref x: not found" }, /ECS reports: CannotPullContainerError/],
      ["PULL_DENIED", { stoppedReason: `CannotPullContainerError: ${USER} ecr:BatchGetImage on resource: x` }, /ecr:BatchGetImage/],
      [
        "ENGINE_ACTION_DENIED",
        {
          stoppedReason: `ResourceInitializationError: unable to retrieve ecr registry auth: AccessDeniedException: ${USER} ecr:GetAuthorizationToken`,
        },
        /ecr:GetAuthorizationToken/,
      ],
      [
        "ENGINE_FAILED",
        { stoppedReason: "ResourceInitializationError: failed to validate logger args: The specified log group does not exist." },
        /LOG_GROUP/,
      ],
      ["CONTAINER_OUT_OF_MEMORY", { reason: "OutOfMemoryError: Container killed due to memory usage", exitCode: 137 }, /memory/],
    ] as const;
    for (const [code, task, says] of cases) {
      const service = name(code.toLowerCase().replaceAll("_", "-"));
      const spec = await specOf(driver, service, IMAGE);
      stand.fates.set(service, { task });
      t.match((await rejectsWith(t, code, driver.deploy(spec, call()))).message, says);
      t.equal(left(stand, service), undefined);
    }
  });

  await t.test("a task without capacity, and one for which ECS gives no address or no reason", async (t) => {
    const cases = [
      [
        "CONTAINER_UNSCHEDULABLE",
        {
          event:
            "was unable to place a task because no container instance met all of its requirements. Reason: No Container Instances were found in your cluster.",
        },
      ],
      [
        "NO_CAPACITY",
        {
          event:
            "was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or in a different availability zone.",
        },
      ],
      ["CONTAINER_NOT_READY", { address: "none" }],
      ["CONTAINER_CRASHED", { task: {} }],
    ] as const;
    const gpu = name("none-gpu");
    stand.fates.set(gpu, {
      event:
        'was unable to place a task because no container instance met all of its requirements. The closest matching (container-instance 0a1b) encountered error "RESOURCE:GPU".',
    });
    const onEc2 = stand.open({ launchType: "ec2" });
    const fault = await rejectsWith(t, "NO_CAPACITY", onEc2.deploy(await specOf(onEc2, gpu, IMAGE, { gpu: 1 }), call()));
    t.match(fault.message, /RESOURCE:GPU.*BERTH_GPU_POLICY/);
    t.equal(left(stand, gpu), undefined);
    for (const [code, fate] of cases) {
      const service = name(`none-${code.toLowerCase().replaceAll("_", "-")}`);
      const spec = await specOf(driver, service, IMAGE);
      stand.fates.set(service, fate);
      await rejectsWith(t, code, driver.deploy(spec, call()));
      t.equal(left(stand, service), undefined);
    }
  });

  await t.test("a rollout that is given up without a task that says why", async (t) => {
    const service = name("given-up");
    stand.fates.set(service, { event: "has begun something." });
    const start = driver.deploy(await specOf(driver, service, IMAGE), call());
    start.catch(() => {});
    await eventually("it was made", () => stand.services.has(service));
    Object.assign(stand.services.get(service) as object, {
      rolloutState: "FAILED",
      rolloutStateReason: "ECS deployment circuit breaker: tasks failed to start.",
    });
    t.match((await rejectsWith(t, "CONTAINER_NOT_READY", start)).message, /circuit breaker/);
    t.equal(left(stand, service), undefined);
  });

  await t.test("what was just made may not be seen for a while", async (t) => {
    const service = name("unseen");
    stand.ecs.unseen.set(service, 6);
    await runs(t, driver, await specOf(driver, service, IMAGE));
    await driver.destroy(service, call());
    t.equal(left(stand, service), undefined);
  });

  await t.test("a role that was just made may not be usable for a while; one that never is, is named", async (t) => {
    const spec = await specOf(driver, name("role"), IMAGE);
    const refusal = failure("ClientException", "ECS was unable to assume the role 'x' that was provided for this task.");
    let times = 2;
    stand.answers = ({ action }) => (action === "CreateService" && times-- > 0 ? refusal : undefined);
    await runs(t, driver, spec);
    await driver.destroy(spec.service, call());
    stand.answers = ({ action }) => (action === "CreateService" ? refusal : undefined);
    t.match((await rejectsWith(t, "ENGINE_ACTION_DENIED", driver.deploy(spec, call()))).message, /sts:AssumeRole/);
    stand.answers = () => undefined;
    t.equal(left(stand, spec.service), undefined);
  });

  await t.test("an ECS without a counting circuit breaker gets the request again without it, once", async (t) => {
    const spec = await specOf(driver, name("breaker"), IMAGE);
    const own = stand.open();
    stand.answers = ({ action, body }) =>
      action === "CreateService" && JSON.stringify(body).includes("thresholdConfiguration")
        ? failure("InvalidParameterException", "Unknown parameter: thresholdConfiguration")
        : undefined;
    await runs(t, own, spec);
    await own.destroy(spec.service, call());
    await runs(t, own, spec);
    await own.destroy(spec.service, call());
    const crash = await specOf(own, name("three-times"), { ref: "berth-test/crashing:1" });
    t.match(await rejectsWith(t, "CONTAINER_CRASHED", own.deploy(crash, call())), { message: /exit code 7/ }, "the first crash is enough for us");
    t.equal(left(stand, crash.service), undefined, "though ECS would try again");
    stand.answers = () => undefined;
    t.strictSame(
      requestsOf(stand, "CreateService", spec.service).map((body) => JSON.stringify(body).includes("thresholdConfiguration")),
      [true, false, false],
    );
  });

  await t.test("throttled, it goes slower and on", async (t) => {
    const spec = await specOf(driver, name("throttled"), IMAGE);
    const slowed = new Set<string>();
    stand.answers = ({ action }) => {
      if (!["DescribeServices", "CreateService"].includes(action) || slowed.has(action)) return undefined;
      slowed.add(action);
      return throttled;
    };
    await runs(t, stand.open(), spec);
    t.equal(slowed.size, 2);
    t.equal(requestsOf(stand, "CreateService", spec.service).length, 2, "the same one again");
    stand.answers = () => undefined;
    await driver.destroy(spec.service, call());
  });

  await t.test("throttled beyond the tries of AWS's client, a start still succeeds", async (t) => {
    const throttling = stand.open({ tries: 1 });
    const spec = await specOf(driver, name("throttled-long"), IMAGE);
    const refusals = new Map(["RegisterTaskDefinition", "CreateService", "DescribeTasks"].map((action) => [action, 2]));
    stand.answers = ({ action }) => {
      const times = refusals.get(action) ?? 0;
      if (times === 0) return undefined;
      refusals.set(action, times - 1);
      return throttled;
    };
    await runs(t, throttling, spec);
    t.same([...refusals.values()], [0, 0, 0]);
    t.equal(requestsOf(stand, "RegisterTaskDefinition", spec.service).length, 3);
    t.equal(requestsOf(stand, "CreateService", spec.service).length, 3, "nothing was removed and created again");
    stand.answers = () => undefined;
    await driver.destroy(spec.service, call());
  });

  await t.test("several starts whose calls are throttled now and then all succeed", async (t) => {
    const specs = await Promise.all(Array.from({ length: 4 }, async (_, at) => specOf(driver, name(`busy-${at}`), IMAGE)));
    const throttling = stand.open({ tries: 1 });
    let [calls, refused] = [0, 0];
    stand.answers = () => {
      if (++calls % 3 !== 0 || refused === 4) return undefined;
      refused++;
      return throttled;
    };
    await Promise.all(specs.map((spec) => runs(t, throttling, spec)));
    t.equal(refused, 4);
    stand.answers = () => undefined;
    await Promise.all(specs.map(({ service }) => driver.destroy(service, call())));
  });

  await t.test("a start that cannot be looked at for a while goes on", async (t) => {
    const spec = await specOf(driver, name("blind"), IMAGE);
    let times = 3;
    stand.answers = ({ action }) =>
      action === "DescribeServices" && stand.services.has(spec.service) && times-- > 0
        ? failure("ServerException", "Service Unavailable.")
        : undefined;
    await runs(t, driver, spec);
    t.ok(times < 0);
    stand.answers = () => undefined;
    await driver.destroy(spec.service, call());
  });

  await t.test("a service whose creation got no reply is removed", async (t) => {
    const spec = await specOf(driver, name("unheard"), IMAGE);
    stand.loses = ({ action }) => action === "CreateService";
    await rejectsWith(t, "ENGINE_FAILED", driver.deploy(spec, call()));
    stand.loses = () => false;
    t.ok(stand.services.has(spec.service), "it was made");
    t.equal(left(stand, spec.service), undefined);
  });

  await t.test("a right that is missing is named, and nothing is left of the start that missed it", async (t) => {
    const spec = await specOf(driver, name("denied"), IMAGE);
    for (const action of ["RegisterTaskDefinition", "CreateService", "DescribeServices", "ListTasks", "DescribeTasks", "ListContainerInstances"]) {
      let first = true;
      stand.answers = (question) => {
        if (question.action !== action) return undefined;
        // That of looking at a service which is there already: what cleans up may look again.
        if (action.startsWith("Describe") || action === "ListTasks") {
          if (!stand.services.has(spec.service) || stand.services.get(spec.service)?.status !== "ACTIVE" || !first) return undefined;
          first = false;
        }
        return denied(`ecs:${action}`);
      };
      const fault = await rejectsWith(t, "ENGINE_ACTION_DENIED", driver.deploy(spec, call()));
      t.match(fault.message, new RegExp(`ecs:${action} `));
      stand.answers = () => undefined;
      t.equal(left(stand, spec.service), undefined, action);
    }
  });

  await t.test("a name of a foreign owner is not touched", async (t) => {
    const service = name("foreign");
    const spec = await specOf(driver, service, IMAGE);
    await driver.deploy(spec, call());
    const kept = stand.services.get(service);
    const other = { ...spec, labels: { ...spec.labels, store: "another" } };
    t.match((await rejectsWith(t, "SPEC_REFUSED", driver.deploy(other, call()))).message, /another berth/);
    t.equal(stand.services.get(service), kept);
    t.equal(kept?.status, "ACTIVE");
    await driver.destroy(service, call());
  });

  await t.test("a draining service is waited for, and its successor is left to its creator", async (t) => {
    const service = name("draining");
    const spec = await specOf(driver, service, IMAGE);
    await driver.deploy(spec, call());
    const seldom = { first: 2_000, longest: 2_000 };
    const slow = stand.open({ polling: { start: seldom, retry: seldom, events: seldom } });
    const destroying = slow.destroy(service, call());
    await eventually("it is deleted", () => stand.services.get(service)?.status === "DRAINING");
    await runs(t, driver, spec);
    const successor = stand.services.get(service);
    const from = stand.requests.length;
    await destroying;
    t.equal(stand.services.get(service), successor);
    t.equal(successor?.status, "ACTIVE");
    t.notOk(
      stand.requests.slice(from).some(({ action }) => action === "DeregisterTaskDefinition"),
      "nor is its definition",
    );
    await driver.destroy(service, call());
    t.equal(left(stand, service), undefined);
  });

  await t.test("destroyed is what has stopped, though ECS gives the name away before", async (t) => {
    const service = name("draining");
    await driver.deploy(await specOf(driver, service, IMAGE), call());
    const kept = stand.services.get(service);
    stand.stopMs = 600;
    const destroying = driver.destroy(service, call());
    await eventually("its name is free", () => kept?.status === "INACTIVE");
    t.equal(kept && stand.scheduler.live(kept).length, 1, "its task is still there");
    await destroying;
    t.equal(kept && stand.scheduler.live(kept).length, 0);
    stand.stopMs = 0;
  });

  await t.test("definitions that a death at the wrong moment left go with the service", async (t) => {
    const service = name("leftover");
    const spec = await specOf(driver, service, IMAGE);
    stand.answers = ({ action }) => (["CreateService", "DeregisterTaskDefinition"].includes(action) ? denied(`ecs:${action}`) : undefined);
    await rejectsWith(t, "ENGINE_ACTION_DENIED", driver.deploy(spec, call()));
    stand.answers = () => undefined;
    await driver.deploy(spec, call());
    const before = stand.requests.filter(({ action }) => action === "DeregisterTaskDefinition").length;
    await driver.destroy(service, call());
    t.equal(stand.requests.filter(({ action }) => action === "DeregisterTaskDefinition").length - before, 2);
  });

  await t.test("a task that ECS replaced is reported at its new address", async (t) => {
    const service = name("moved");
    const spec = await specOf(driver, service, IMAGE);
    const {
      addresses: [address],
    } = await driver.deploy(spec, call());
    await eventually("ECS is content", () => stand.services.get(service)?.rolloutState === "COMPLETED");
    stand.scheduler.kill(service);
    const moved = async () => {
      const now = await driver.inspect(service, call());
      return now?.running === true && now.addresses[0]?.host !== address?.host ? now.addresses[0] : undefined;
    };
    await eventually("it moved", async () => (await moved()) !== undefined);
    t.strictSame((await driver.deploy(spec, call())).addresses[0], await moved(), "and adopted there");
    await driver.destroy(service, call());
  });

  await t.test("with LAUNCH_TYPE=FARGATE no instance is requested, and what Fargate lacks is refused or reported", async (t) => {
    const warned: string[] = [];
    const none = () => {};
    const warn = (fields: object, message: string) => void warned.push(`${message} ${JSON.stringify(fields)}`);
    const log: Log = { debug: none, info: none, error: none, warn, child: () => log };
    const fargate = stand.open({ launchType: "fargate", log });
    const before = stand.requests.length;
    const spec = await specOf(fargate, name("fargate"), IMAGE, { shmMb: 128 });
    await runs(t, fargate, spec);
    await fargate.destroy(spec.service, call());
    t.match(warned, [/shm \(128 MB\)/]);
    await rejectsWith(t, "NO_CAPACITY", fargate.deploy({ ...spec, gpu: 1 }, call()));
    await rejectsWith(t, "SPEC_REFUSED", fargate.deploy({ ...spec, cpu: 17 }, call()));
    await rejectsWith(t, "SPEC_REFUSED", fargate.deploy({ ...spec, storageGb: 201 }, call()));
    t.notOk(stand.requests.slice(before).some(({ action }) => action === "ListContainerInstances"));
  });

  await t.test("with capacity providers a service names these and no launch type", async (t) => {
    const spot = stand.open({ capacityProviders: ["FARGATE_SPOT=3", "FARGATE"] });
    const spec = await specOf(spot, name("spot"), IMAGE, {});
    await runs(t, spot, spec);
    const [created] = requestsOf(stand, "CreateService", spec.service);
    t.same(created?.["capacityProviderStrategy"], [
      { capacityProvider: "FARGATE_SPOT", weight: 3 },
      { capacityProvider: "FARGATE", weight: 1 },
    ]);
    t.notOk("launchType" in (created ?? {}));
    t.match(requestsOf(stand, "RegisterTaskDefinition", spec.service), [{ requiresCompatibilities: ["FARGATE"] }]);
    await spot.destroy(spec.service, call());
    await rejectsWith(t, "NO_CAPACITY", spot.deploy({ ...spec, gpu: 1 }, call()));
  });

  await t.test("a task goes to an EC2 instance with capacity; a missing free GPU is reported", async (t) => {
    await rejectsWith(t, "NO_CAPACITY", driver.deploy(await specOf(driver, name("gpu"), IMAGE, { gpu: 1 }), call()));
    const { Instances } = await stand.admin.ec2.send(
      new RunInstancesCommand({ ImageId: "ami-12c6146b", InstanceType: "m5.large", MinCount: 1, MaxCount: 1 }),
    );
    const instanceIdentityDocument = JSON.stringify({ instanceId: Instances?.[0]?.InstanceId });
    await stand.admin.ecs.send(new RegisterContainerInstanceCommand({ cluster: CLUSTER, instanceIdentityDocument }));
    const roomy = await specOf(driver, name("ec2"), IMAGE, { shmMb: 128, cpu: 4, memoryMb: 7_482 });
    await runs(t, driver, roomy);
    t.match(requestsOf(stand, "CreateService", roomy.service), [{ launchType: "EC2" }]);
    t.match(requestsOf(stand, "RegisterTaskDefinition", roomy.service), [
      { requiresCompatibilities: ["EC2"], containerDefinitions: [{ linuxParameters: { sharedMemorySize: 128 } }] },
    ]);
    await driver.destroy(roomy.service, call());
    const large = await specOf(driver, name("fargate-after-all"), IMAGE, { memoryMb: 7_483 });
    await runs(t, driver, large);
    t.match(requestsOf(stand, "CreateService", large.service), [{ launchType: "FARGATE" }]);
    await driver.destroy(large.service, call());
  });

  await t.test("unreachable AWS is reported", async (t) => {
    const service = name("away");
    const spec = await specOf(driver, service, IMAGE);
    await stand.close();
    await rejectsWith(t, "ENGINE_UNREACHABLE", driver.deploy(spec, call()));
    await rejectsWith(t, "ENGINE_UNREACHABLE", driver.list(call()));
    await rejectsWith(t, "ENGINE_UNREACHABLE", text(driver.logs(service, { tail: 1 }, call())));
    const caller = new AbortController();
    const asking = driver.list({ signal: caller.signal });
    const reason = new Error("enough");
    caller.abort(reason);
    t.equal(await asking.catch((error: unknown) => error), reason);
  });
});
