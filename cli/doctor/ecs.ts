import { randomUUID } from "node:crypto";
import { openAws } from "../../drivers/ecs/aws.ts";
import { deniedAction, isNamed, saidBy } from "../../drivers/ecs/faults.ts";
import { Fault } from "../../lib/fault.ts";
import { openEcrApi } from "../../gateway/registry/upstream/ecr-api.ts";
import { ecsHosts, ecsOptions } from "../../processes/open-driver.ts";
import { type CheckContext, type CheckResult, type CheckProblem, failure } from "./check.ts";
import { deniedEcr } from "./registry.ts";

const RATE = { perSecond: 10, burst: 20 };
/** AWS answers so for a made-up name: the call itself was allowed. */
const NOT_THERE = ["ResourceNotFoundException", "InvalidParameterException", "ServiceNotFoundException"];
const ALLOW = "Allow it to the role that berth runs with, as conf/ecs/policy.json does.";

/** ECS: which of the reading calls that the driver makes the role is denied. Those that make and end services show with a container's start. */
export async function checkEcs({ settings, clock }: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const hosts = ecsHosts(settings);
  const blocks = hosts ? [hosts.cvm, hosts.datagrok] : [ecsOptions(settings)];
  const problems: CheckProblem[] = [];
  for (const { cluster, region, logGroup } of blocks) {
    if (cluster === undefined) throw new Fault("SETTINGS_INVALID", "No cluster is set: GROK_SPAWNER_CVM_ECS__CLUSTER names it.");
    const aws = openAws({ cluster, region, logsRegion: undefined, rate: RATE, clock });
    const made = `arn:aws:ecs:${region ?? "us-east-1"}:000000000000:task/${randomUUID()}`;
    let instances: string[] = [];
    const calls: [action: string, ask: () => Promise<unknown>][] = [
      ["ecs:ListServices", () => aws.listServices({ maxResults: 1 }, signal)],
      ["ecs:DescribeServices", () => aws.describeServices({ services: ["berth-doctor"] }, signal)],
      ["ecs:ListTasks", () => aws.listTasks({ maxResults: 1 }, signal)],
      ["ecs:DescribeTasks", () => aws.describeTasks({ tasks: [made] }, signal)],
      ["ecs:ListTaskDefinitions", () => aws.listTaskDefinitions({ maxResults: 1 })],
      [
        "ecs:ListContainerInstances",
        async () => (instances = (await aws.listContainerInstances({ maxResults: 1 }, signal)).containerInstanceArns ?? []),
      ],
      // Without instances the driver never asks it either.
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
      for (const [action, ask] of calls) {
        const failed = await ask().then(() => undefined, (error: unknown) => error); // prettier-ignore
        signal.throwIfAborted();
        if (failed === undefined || isNamed(failed, ...NOT_THERE)) continue;
        if (!(failed instanceof Fault) || failed.code !== "ENGINE_ACTION_DENIED") throw failed;
        problems.push(failure(`AWS denies ${deniedAction(saidBy(failed)) ?? action} in the cluster ${cluster}.`, ALLOW));
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
    says: `ecs, cluster ${blocks.map(({ cluster }) => cluster).join(" and ")}; what makes services is seen with a container's start`,
    problems,
  };
}

function nameOf(arn: string): string {
  return arn.replace(/^.*:log-group:/, "").replace(/:\*$/, "");
}
