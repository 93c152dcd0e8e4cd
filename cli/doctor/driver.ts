import { randomUUID } from "node:crypto";
import { type DriverName, DRIVERS } from "../../drivers/driver.ts";
import { localApi } from "../command-context.ts";
import { Fault } from "../../lib/fault.ts";
import { openLog } from "../../lib/log.ts";
import { configuredDriver, ecsHosts, ecsOptions } from "../../processes/open-driver.ts";
import { type CheckContext, type CheckProblem, type CheckResult, failure, warning } from "./check.ts";

type DriverCheck = (chain: CheckContext, signal: AbortSignal) => Promise<CheckResult>;

/** One check per driver. Clients are loaded on demand. */
const DRIVER_CHECKS: Readonly<Record<DriverName | "ask", DriverCheck>> = {
  docker: async (...args) => (await import("./engine.ts")).checkEngine("docker", ...args),
  swarm: async (...args) => (await import("./engine.ts")).checkEngine("swarm", ...args),
  ask: async (...args) => (await import("./engine.ts")).checkEngine("ask", ...args),
  ecs: checkEcs,
  kubernetes: checkKubernetes,
  process: (...args) => listAll("process", ...args),
  spawner: (...args) => listAll("spawner", ...args),
};

/** Whether berth reaches the orchestrator and has the rights that it needs. */
export async function checkDriver(chain: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  if (!chain.settings.dockerSettings.useGrokSpawner) {
    const todo = "To run containers, set dockerSettings.useGrokSpawner to true and restart berth.";
    return { says: "containers are disabled", problems: [warning("Containers are disabled: dockerSettings.useGrokSpawner is off.", todo)] };
  }
  const name = (await runningDriver(chain)) ?? configuredDriver(chain.settings);
  if (name !== "ask") chain.shared.driver = name;
  return DRIVER_CHECKS[name](chain, signal);
}

/** The driver of the berth that runs on this data folder, if no setting names one: `berth demo` takes another default. */
async function runningDriver({ context, loadSettings }: CheckContext): Promise<DriverName | undefined> {
  if (loadSettings().sources["driver"] !== "default") return undefined;
  const running = await localApi(context)<{ backend: { driver: string } }>("GET", "/admin/stand").catch(() => undefined);
  return DRIVERS.find((name) => name === running?.backend.driver);
}

/** Lists berth's services through the driver. Faults: those of a driver. */
async function listAll(name: DriverName, { settings, clock }: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  if (name === "spawner" && settings.dockerSettings.spawnerAuthMode === "jwt")
    return { unlooked: "only control makes tokens for the spawner; the start of a container shows whether it accepts them" };
  const { openHostDrivers } = await import("../../processes/open-driver.ts");
  const log = openLog({ level: "silent", name: "doctor" });
  const driver = await openHostDrivers(name, settings, undefined, { clock, log });
  try {
    const shared = await driver.list({ signal });
    return { says: `${name}, ${shared.length} services of berth's` };
  } finally {
    await driver.close();
  }
}

/** Lists the rights that berth's account lacks. */
async function checkKubernetes({ settings, clock }: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const [{ openCluster, RIGHTS, SHELL_RIGHTS }, { deniedRights }] = await Promise.all([
    import("../../drivers/kubernetes/cluster.ts"),
    import("../../drivers/kubernetes/objects.ts"),
  ]);
  const cluster = openCluster(settings.kubernetes, clock);
  const denied = await deniedRights(cluster, RIGHTS, signal);
  const lacks = (right: string, file: string) =>
    failure(`berth's account may not ${right} in the namespace ${cluster.namespace}.`, `Give it the role of conf/kubernetes/${file}.`);
  const deniedToShells = settings.shell ? await deniedRights(cluster, SHELL_RIGHTS, signal) : [];
  return {
    says: `kubernetes, namespace ${cluster.namespace} at ${cluster.at}, all rights`,
    problems: [...denied.map((right) => lacks(right, "rbac.yaml")), ...deniedToShells.map((right) => lacks(right, "rbac-shell.yaml"))],
  };
}

const RATE = { perSecond: 10, burst: 20 };
/** AWS's errors for a made-up name: the call itself was allowed. */
const NOT_THERE = ["ResourceNotFoundException", "InvalidParameterException", "ServiceNotFoundException"];
const ALLOW = "Allow it for berth's role, as conf/ecs/policy.json does.";

/** Tries the driver's read calls. The start of a container shows whether the others are allowed. */
async function checkEcs({ settings, clock }: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const [{ openAws }, { deniedAction, isNamed, messageOf }, { openEcrApi }, { deniedEcr }] = await Promise.all([
    import("../../drivers/ecs/aws.ts"),
    import("../../drivers/ecs/faults.ts"),
    import("../../gateway/registry/upstream/ecr-api.ts"),
    import("./registry.ts"),
  ]);
  const hosts = ecsHosts(settings);
  const blocks = hosts ? [hosts.cvm, hosts.datagrok] : [ecsOptions(settings)];
  const problems: CheckProblem[] = [];
  if (settings.shell && settings.ecs.shellRole === undefined)
    problems.push(warning("BERTH_SHELL is on, but tasks of ECS have no role for shells.", "Set BERTH_ECS_SHELL_ROLE (docs/drivers/ecs.md)."));
  for (const { cluster, region, logGroup } of blocks) {
    if (cluster === undefined) throw new Fault("SETTINGS_INVALID", "No cluster is set: GROK_SPAWNER_CVM_ECS__CLUSTER names it.");
    const aws = openAws({ cluster, region, logsRegion: undefined, rate: RATE, clock });
    const made = `arn:aws:ecs:${region ?? "us-east-1"}:000000000000:task/${randomUUID()}`;
    let instances: string[] = [];
    const calls: [action: string, request: () => Promise<unknown>][] = [
      ["ecs:ListServices", () => aws.listServices({ maxResults: 1 }, signal)],
      ["ecs:DescribeServices", () => aws.describeServices({ services: ["berth-doctor"] }, signal)],
      ["ecs:ListTasks", () => aws.listTasks({ maxResults: 1 }, signal)],
      ["ecs:DescribeTasks", () => aws.describeTasks({ tasks: [made] }, signal)],
      ["ecs:ListTaskDefinitions", () => aws.listTaskDefinitions({ maxResults: 1 })],
      [
        "ecs:ListContainerInstances",
        async () => (instances = (await aws.listContainerInstances({ maxResults: 1 }, signal)).containerInstanceArns ?? []),
      ],
      // The driver needs it only with instances.
      ["ecs:DescribeContainerInstances", async () => instances.length > 0 && aws.describeContainerInstances(instances, signal)],
      ...(logGroup === undefined
        ? []
        : [
            [
              "logs:GetLogEvents",
              () => aws.getLogEvents({ logGroupName: nameOf(logGroup), logStreamName: "grok_spawner/berth-doctor/none", limit: 1 }, signal),
            ] as [string, () => Promise<unknown>],
          ]),
    ];
    try {
      for (const [action, request] of calls) {
        const failed = await request().then(() => undefined, (error: unknown) => error); // prettier-ignore
        signal.throwIfAborted();
        if (failed === undefined || isNamed(failed, ...NOT_THERE)) continue;
        if (!(failed instanceof Fault) || failed.code !== "ENGINE_ACTION_DENIED") throw failed;
        problems.push(failure(`AWS denies ${deniedAction(messageOf(failed)) ?? action} in the cluster ${cluster}.`, ALLOW));
      }
    } finally {
      aws.close();
    }
  }
  const region = settings.awsRegion ?? blocks[0]?.region;
  const ecr = await openEcrApi({ region, clock });
  try {
    problems.push(...(await deniedEcr(ecr, signal)));
  } finally {
    ecr.close();
  }
  return {
    says: `ecs, cluster ${blocks.map(({ cluster }) => cluster).join(" and ")}; the container check shows the other rights`,
    problems,
  };
}

function nameOf(arn: string): string {
  return arn.replace(/^.*:log-group:/, "").replace(/:\*$/, "");
}
