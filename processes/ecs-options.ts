import { isDeepStrictEqual } from "node:util";
import type { Settings } from "../conf/settings.ts";
import type { Host } from "../drivers/driver.ts";
import type { EcsOptions } from "../drivers/ecs/driver.ts";

type EcsSettings = Pick<Settings, "ecs" | "awsRegion">;

/** Where the containers of a host run: each has its block of settings, and what that leaves out, the other says. Roles and logs are of the stand. */
export function ecsOptions({ ecs, awsRegion }: EcsSettings, host: Host = "cvm"): EcsOptions {
  const [first, second] = host === "cvm" ? [ecs.cvm, ecs.datagrok] : [ecs.datagrok, ecs.cvm];
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

/** Those of both hosts, and whether their clusters are two; undefined where both blocks say the same. */
export function ecsHosts(settings: EcsSettings): (Record<Host, EcsOptions> & { apart: boolean }) | undefined {
  const [cvm, datagrok] = [ecsOptions(settings, "cvm"), ecsOptions(settings, "datagrok")];
  return isDeepStrictEqual(cvm, datagrok) ? undefined : { cvm, datagrok, apart: areApart(cvm, datagrok) };
}

/** A cluster has its name, with which its ARN ends, to itself in a region. A region that AWS's own variables or files say is taken for the other's. */
function areApart(one: EcsOptions, other: EcsOptions): boolean {
  const nameOf = ({ cluster }: EcsOptions) => cluster?.replace(/^.*\//, "");
  return nameOf(one) !== nameOf(other) || (one.region ?? other.region) !== (other.region ?? one.region);
}
