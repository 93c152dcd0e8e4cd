import type { DriverName } from "../../drivers/driver.ts";
import { openLog } from "../../lib/log.ts";
import { driverOf } from "../../processes/open-driver.ts";
import { type Chain, type Finding, wrong } from "./check.ts";

type Look = (chain: Chain, signal: AbortSignal) => Promise<Finding>;

/** What there is to be seen of each orchestrator; loaded where it is used, as its client is. */
const LOOKS: Readonly<Record<DriverName | "ask", Look>> = {
  docker: async (...asked) => (await import("./engine.ts")).checkEngine("docker", ...asked),
  swarm: async (...asked) => (await import("./engine.ts")).checkEngine("swarm", ...asked),
  ask: async (...asked) => (await import("./engine.ts")).checkEngine("ask", ...asked),
  ecs: async (...asked) => (await import("./ecs.ts")).checkEcs(...asked),
  kubernetes: checkKubernetes,
  process: (...asked) => listAll("process", ...asked),
  spawner: (...asked) => listAll("spawner", ...asked),
};

/** Whether the orchestrator is there, and lets berth do what it does. */
export async function checkDriver(chain: Chain, signal: AbortSignal): Promise<Finding> {
  const name = driverOf(chain.settings);
  if (name !== "ask") chain.found.driver = name;
  return LOOKS[name](chain, signal);
}

/** By the driver itself: a list of all that berth runs there. Faults: those of a driver. */
async function listAll(name: DriverName, { settings, clock }: Chain, signal: AbortSignal): Promise<Finding> {
  if (name === "spawner" && settings.dockerSettings.spawnerAuthMode === "jwt")
    return { unlooked: "only control makes the tokens that the spawner knows it by; a container's start shows whether it takes them" };
  const { openDriverOfHosts } = await import("../../processes/open-driver.ts");
  const log = openLog({ level: "silent", name: "doctor" });
  const driver = await openDriverOfHosts(name, settings, undefined, { clock, log });
  try {
    const found = await driver.list({ signal });
    return { says: `${name}, ${found.length} services of berth's` };
  } finally {
    await driver.close();
  }
}

/** Lists the rights that berth's account lacks. */
async function checkKubernetes({ settings, clock }: Chain, signal: AbortSignal): Promise<Finding> {
  const [{ openCluster }, { deniedRights }] = await Promise.all([
    import("../../drivers/kubernetes/cluster.ts"),
    import("../../drivers/kubernetes/rights.ts"),
  ]);
  const cluster = openCluster(settings.kubernetes, clock);
  const denied = await deniedRights(cluster, signal);
  return {
    says: `kubernetes, namespace ${cluster.namespace} at ${cluster.at}, all rights`,
    problems: denied.map((right) =>
      wrong(`berth's account may not ${right} in the namespace ${cluster.namespace}.`, "Give it the role of conf/kubernetes/rbac.yaml."),
    ),
  };
}
