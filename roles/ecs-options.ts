import type { Settings } from "../conf/settings.ts";
import type { EcsOptions } from "../drivers/ecs/driver.ts";

/** The blocks of settings that a stand on ECS has, one for its own services and one for plugins' containers. */
export type EcsBlock = "cvm" | "datagrok";

/** The cluster of containers, after one of the two blocks; what that leaves out, the other says. Roles and logs are of the stand. */
export function ecsOptions({ ecs, awsRegion }: Pick<Settings, "ecs" | "awsRegion">, block: EcsBlock = "cvm"): EcsOptions {
  const [first, second] = block === "cvm" ? [ecs.cvm, ecs.datagrok] : [ecs.datagrok, ecs.cvm];
  const either = (a: readonly string[], b: readonly string[]) => (a.length > 0 ? a : b);
  const cluster = first.cluster ?? second.cluster;
  const named = /^arn:[^:]+:ecs:([^:]+):/.exec(cluster ?? "")?.[1];
  return {
    cluster,
    region: first.clusterRegion ?? named ?? second.clusterRegion ?? awsRegion,
    subnets: either(first.subnets, second.subnets),
    securityGroups: either(first.securityGroups, second.securityGroups),
    launchType: first.launchType ?? second.launchType,
    execRole: ecs.datagrok.execRole,
    logGroup: ecs.datagrok.logGroup,
    reach: ecs.reach,
  };
}
