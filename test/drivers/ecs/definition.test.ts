import { launchTypeOf, parseCapacityShares } from "../../../drivers/ecs/launch.ts";
import t from "tap";
import { ignoredSettings, taskDefinition, readTags, writeTags } from "../../../drivers/ecs/definition.ts";
import { ecsDriver } from "../../../drivers/ecs/driver.ts";
import { observe } from "../../../drivers/ecs/observe.ts";
import type { Spec } from "../../../drivers/driver.ts";
import { readSettings } from "../../../conf/read-settings.ts";
import { openLog } from "../../../lib/log.ts";
import { systemClock } from "../../../lib/clock.ts";
import { ecsHosts, ecsOptions } from "../../../processes/open-driver.ts";
import { openApiModel } from "./api-model.ts";
import { refusal } from "./fargate-rules.ts";

const LABELS = { store: "s", environment: "test", container: "c", generation: 3 };
const SPEC: Spec = {
  service: "x",
  labels: LABELS,
  image: "r/x@sha256:0",
  env: { A: "b=c" },
  cpu: 0.25,
  memoryMb: 512,
  shmMb: 64,
  storageGb: 21,
  gpu: 0,
  port: 80,
  readiness: { kind: "port" },
  graceMs: 1,
};
const FARGATE = { type: "FARGATE" as const, size: { cpu: 256, memoryMb: 512 } };
const EC2 = { type: "EC2" as const };
const site = {
  execRole: "arn:aws:iam::1:role/tasks",
  shellRole: undefined,
  logGroup: { name: "/ecs/x", region: "eu-west-1" },
  architecture: undefined,
};

t.test("definitions for both launch types are what the API takes", async (t) => {
  const model = openApiModel("ecs");
  for (const launch of [FARGATE, EC2]) {
    for (const spec of [SPEC, { ...SPEC, port: undefined, storageGb: 200.4 - 1, shmMb: 1_024 }, { ...SPEC, storageGb: 5, cpu: 0.1 }]) {
      const definition = taskDefinition(spec, launch, site);
      t.strictSame(model("RegisterTaskDefinition", "input", JSON.parse(JSON.stringify(definition))), []);
      t.equal(refusal(definition as never), undefined);
    }
  }
});

t.test("with a role for shells a task has it and an init process, beside its shared memory", async (t) => {
  const model = openApiModel("ecs");
  const shellRole = "arn:aws:iam::1:role/shells";
  for (const [launch, shared] of [
    [FARGATE, {}],
    [EC2, { sharedMemorySize: 64 }],
  ] as const) {
    const definition = taskDefinition(SPEC, launch, { ...site, shellRole });
    t.strictSame(model("RegisterTaskDefinition", "input", JSON.parse(JSON.stringify(definition))), []);
    t.equal(definition.taskRoleArn, shellRole);
    t.strictSame(definition.containerDefinitions?.[0]?.linuxParameters, { ...shared, initProcessEnabled: true });
    t.equal(taskDefinition(SPEC, launch, site).taskRoleArn, undefined);
  }
});

t.test("tasks have the role for shells only where shells are on", async (t) => {
  const roleOf = (env: Record<string, string>) =>
    ecsOptions(readSettings({ env: { CVM_ECS__CLUSTER: "one", BERTH_ECS_SHELL_ROLE: "arn:aws:iam::1:role/shells", ...env } }).settings).shellRole;
  t.equal(roleOf({}), undefined);
  t.equal(roleOf({ BERTH_SHELL: "on" }), "arn:aws:iam::1:role/shells");
  t.throws(() => roleOf({ BERTH_ECS_SHELL_ROLE: "shells" }), { code: "SETTINGS_INVALID" });
});

t.test("the processor is requested where the settings name it, in the words of the API", async (t) => {
  const model = openApiModel("ecs");
  for (const [architecture, cpuArchitecture] of [
    ["arm64", "ARM64"],
    ["x86_64", "X86_64"],
  ] as const) {
    const { ecs } = readSettings({ env: { BERTH_ECS_ARCHITECTURE: architecture.toUpperCase() } }).settings;
    const definition = taskDefinition(SPEC, FARGATE, { ...site, architecture: ecs.architecture });
    t.strictSame(model("RegisterTaskDefinition", "input", JSON.parse(JSON.stringify(definition))), []);
    t.strictSame(definition.runtimePlatform, { cpuArchitecture, operatingSystemFamily: "LINUX" });
  }
  t.equal(taskDefinition(SPEC, FARGATE, site).runtimePlatform, undefined, "as before the setting");
  t.throws(() => readSettings({ env: { BERTH_ECS_ARCHITECTURE: "sparc" } }), { code: "SETTINGS_INVALID" });
});

t.test("shared memory and GPUs are requested on EC2 alone, disk on Fargate alone", async (t) => {
  const asking = { ...SPEC, shmMb: 256, storageGb: 50, gpu: 2 };
  const [onEc2] = taskDefinition(asking, EC2, site).containerDefinitions ?? [];
  t.match(onEc2, { linuxParameters: { sharedMemorySize: 256 }, resourceRequirements: [{ type: "GPU", value: "2" }] });
  t.equal(taskDefinition(asking, EC2, site).ephemeralStorage, undefined);
  t.strictSame(taskDefinition({ ...asking, gpu: 0 }, FARGATE, site).ephemeralStorage, { sizeInGiB: 50 });
  t.equal(taskDefinition({ ...SPEC, storageGb: 20 }, FARGATE, site).ephemeralStorage, undefined, "what every task has anyway");
  t.throws(() => taskDefinition({ ...SPEC, storageGb: 201 }, FARGATE, site), { code: "SPEC_REFUSED", message: /201 GB.*200 GB/ });
});

t.test("unavailable resources are named, if they were requested", async (t) => {
  t.match(ignoredSettings({ shmMb: 65, storageGb: 21 }, FARGATE), [/^shm \(65 MB\)/]);
  t.match(ignoredSettings({ shmMb: 65, storageGb: 22 }, EC2), [/^storage \(22 GB\)/]);
  t.strictSame(ignoredSettings({ shmMb: 64, storageGb: 200 }, FARGATE), []);
  t.strictSame(ignoredSettings({ shmMb: 512, storageGb: 21 }, EC2), []);
});

t.test("labels and port come back from tags; what berth did not tag has no owner", async (t) => {
  t.strictSame(readTags(writeTags(LABELS, 80)), { labels: LABELS, port: 80 });
  t.strictSame(readTags(writeTags(LABELS, undefined)), { labels: LABELS, port: undefined });
  t.match(writeTags(LABELS, 80)[0], { key: "caller", value: "grok_spawner" });
  t.equal(readTags([{ key: "caller", value: "grok_spawner" }]), undefined);
});

t.test("a task is reached by its own address or name; one that is being stopped, not at all", async (t) => {
  const service = { serviceName: "x", tags: writeTags(LABELS, 80) };
  const details = [
    { name: "privateDnsName", value: "ip-10-0-0-7.ec2.internal" },
    { name: "privateIPv4Address", value: "10.0.0.7" },
  ];
  const task = { lastStatus: "RUNNING", desiredStatus: "RUNNING", attachments: [{ type: "ElasticNetworkInterface", details }] };
  t.strictSame(observe(service, [task], "address")?.addresses[0], { host: "10.0.0.7", port: 80 });
  t.strictSame(observe(service, [task], "name")?.addresses[0], { host: "ip-10-0-0-7.ec2.internal", port: 80 });
  const plain = { ...task, attachments: [], containers: [{ name: "x", networkInterfaces: [{ ipv6Address: "fd00::7" }] }] };
  t.strictSame(observe(service, [plain], "address")?.addresses[0], { host: "fd00::7", port: 80 });
  t.match(observe(service, [{ ...task, desiredStatus: "STOPPED" }], "address"), { running: false, addresses: { length: 0 } });
  const eaten = {
    lastStatus: "STOPPED",
    containers: [{ name: "x", exitCode: 137, reason: "OutOfMemoryError: Container killed due to memory usage" }],
  };
  t.strictSame(observe(service, [eaten], "address")?.exit, { code: 137, outOfMemory: true });
});

t.test("the settings of a stand, in either spelling, lead to its cluster", async (t) => {
  const options = (env: Record<string, string>) => ecsOptions(readSettings({ env }).settings);
  const own = options({
    GROK_SPAWNER_CVM_ECS__CLUSTER: "cvm",
    GROK_SPAWNER_CVM_ECS__SUBNETS: '["subnet-1", "subnet-2"]',
    GROK_SPAWNER_CVM_ECS__LAUNCH_TYPE: "FARGATE",
    DATAGROK_ECS_CLUSTER: "datagrok",
    DATAGROK_ECS_CLUSTER_REGION: "eu-west-1",
    DATAGROK_ECS_SECURITY_GROUPS: '["sg-1"]',
    GROK_SPAWNER_DATAGROK_ECS_EXEC_ROLE: "arn:aws:iam::1:role/tasks",
  });
  t.match(own, {
    cluster: "cvm",
    region: "eu-west-1",
    subnets: ["subnet-1", "subnet-2"],
    securityGroups: ["sg-1"],
    launchType: "fargate",
    execRole: /tasks/,
  });
  t.match(options({ DATAGROK_ECS__CLUSTER: "one", AWS_REGION: "us-east-1" }), { cluster: "one", region: "us-east-1", launchType: undefined });
  t.match(options({ CVM_ECS_CLUSTER: "arn:aws:ecs:eu-north-1:123456789012:cluster/one", AWS_REGION: "us-east-1" }), { region: "eu-north-1" });
});

t.test("capacity providers are of one kind, which decides what a task needs", async (t) => {
  t.same(parseCapacityShares(["FARGATE_SPOT=3", "FARGATE"]), [
    { name: "FARGATE_SPOT", weight: 3 },
    { name: "FARGATE", weight: 1 },
  ]);
  t.equal(launchTypeOf(parseCapacityShares(["FARGATE_SPOT"])), "fargate");
  t.equal(launchTypeOf(parseCapacityShares(["gpu-machines=2", "others"])), "ec2");
  t.equal(launchTypeOf([]), undefined);
  t.throws(() => launchTypeOf(parseCapacityShares(["FARGATE", "others"])), { code: "SETTINGS_INVALID" });
  const { settings } = readSettings({ env: { BERTH_ECS_CAPACITY_PROVIDERS: "FARGATE_SPOT=3,FARGATE=1", CVM_ECS__CLUSTER: "one" } });
  t.same(ecsOptions(settings).capacityProviders, ["FARGATE_SPOT=3", "FARGATE=1"]);
});

t.test("each host has its block of settings, and together they are two clusters or one", async (t) => {
  const hosts = (env: Record<string, string>) => ecsHosts(readSettings({ env }).settings);
  const two = { CVM_ECS__CLUSTER: "plugins", DATAGROK_ECS__CLUSTER: "server", CVM_ECS__SUBNETS: '["subnet-1"]', AWS_REGION: "us-east-1" };
  t.match(hosts(two), { cvm: { cluster: "plugins" }, datagrok: { cluster: "server", subnets: ["subnet-1"], region: "us-east-1" }, apart: true });
  t.match(hosts({ ...two, DATAGROK_ECS__CLUSTER: "plugins", DATAGROK_ECS__CLUSTER_REGION: "eu-west-1", CVM_ECS__CLUSTER_REGION: "us-east-1" }), {
    apart: true,
  });
  const shared = { DATAGROK_ECS__CLUSTER: "one", DATAGROK_ECS__LAUNCH_TYPE: "EC2", CVM_ECS__LAUNCH_TYPE: "FARGATE" };
  t.match(hosts(shared), { cvm: { cluster: "one", launchType: "fargate" }, datagrok: { cluster: "one", launchType: "ec2" }, apart: false });
  const arn = "arn:aws:ecs:eu-north-1:123456789012:cluster/one";
  t.match(hosts({ CVM_ECS__CLUSTER: arn, DATAGROK_ECS__CLUSTER: "one" }), { apart: false });
  t.equal(hosts({ CVM_ECS__CLUSTER: "one" }), undefined, "one block says all");
  t.equal(hosts({ CVM_ECS__CLUSTER: "one", DATAGROK_ECS__CLUSTER: "one" }), undefined);
});

t.test("settings without which nothing can run are refused at once", async (t) => {
  const whole = { cluster: "c", region: "eu-west-1", subnets: ["s"], securityGroups: [], execRole: undefined, logGroup: undefined };
  const open = (more: object) =>
    ecsDriver({ ...whole, launchType: undefined, reach: "address", clock: systemClock(), log: openLog({ level: "silent", name: "test" }), ...more });
  t.throws(() => open({ cluster: undefined }), { code: "SETTINGS_INVALID", message: /__CLUSTER/ });
  t.throws(() => open({ subnets: [] }), { code: "SETTINGS_INVALID", message: /__SUBNETS/ });
  t.throws(() => open({ logGroup: "/ecs/x" }), { code: "SETTINGS_INVALID", message: /LOG_GROUP/ });
  await open({ logGroup: "arn:aws:logs:eu-west-1:123456789012:log-group:/ecs/x:*" }).close();
});
