import type { DriverName } from "../../drivers/driver.ts";
import { openLog } from "../../lib/log.ts";
import { configuredDriver } from "../../processes/open-driver.ts";
import { type CheckContext, type CheckResult, failure } from "./check.ts";

type DriverCheck = (chain: CheckContext, signal: AbortSignal) => Promise<CheckResult>;

/** What there is to be seen of each orchestrator; loaded where it is used, as its client is. */
const DRIVER_CHECKS: Readonly<Record<DriverName | "ask", DriverCheck>> = {
  docker: async (...args) => (await import("./engine.ts")).checkEngine("docker", ...args),
  swarm: async (...args) => (await import("./engine.ts")).checkEngine("swarm", ...args),
  ask: async (...args) => (await import("./engine.ts")).checkEngine("ask", ...args),
  ecs: async (...args) => (await import("./ecs.ts")).checkEcs(...args),
  kubernetes: checkKubernetes,
  process: (...args) => listAll("process", ...args),
  spawner: (...args) => listAll("spawner", ...args),
};

/** Whether the orchestrator is there, and lets berth do what it does. */
export async function checkDriver(chain: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const name = configuredDriver(chain.settings);
  if (name !== "ask") chain.shared.driver = name;
  return DRIVER_CHECKS[name](chain, signal);
}

/** By the driver itself: a list of all that berth runs there. Faults: those of a driver. */
async function listAll(name: DriverName, { settings, clock }: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  if (name === "spawner" && settings.dockerSettings.spawnerAuthMode === "jwt")
    return { unlooked: "only control makes the tokens that the spawner knows it by; a container's start shows whether it takes them" };
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
  const [{ openCluster }, { deniedRights }] = await Promise.all([
    import("../../drivers/kubernetes/cluster.ts"),
    import("../../drivers/kubernetes/rights.ts"),
  ]);
  const cluster = openCluster(settings.kubernetes, clock);
  const denied = await deniedRights(cluster, signal);
  return {
    says: `kubernetes, namespace ${cluster.namespace} at ${cluster.at}, all rights`,
    problems: denied.map((right) =>
      failure(`berth's account may not ${right} in the namespace ${cluster.namespace}.`, "Give it the role of conf/kubernetes/rbac.yaml."),
    ),
  };
}
