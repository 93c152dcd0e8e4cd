import t from "tap";
import { readSettings } from "../../conf/read-settings.ts";
import { configuredDriver } from "../../processes/open-driver.ts";

const of = (env: Record<string, string>) => configuredDriver(readSettings({ env }).settings);

t.test("the variables of a stand mean one orchestrator, in each of their spellings", async (t) => {
  t.equal(of({}), "ask");
  for (const name of ["GROK_SPAWNER_CVM_ECS__CLUSTER", "GROK_SPAWNER_DATAGROK_ECS_CLUSTER", "CVM_ECS__CLUSTER", "DATAGROK_ECS_CLUSTER"])
    t.equal(of({ [name]: "stand" }), "ecs", name);
  for (const name of ["GROK_SPAWNER_KUBERNETES__NAMESPACE", "GROK_SPAWNER_KUBERNETES__KUBECONFIG"])
    t.equal(of({ [name]: "stand" }), "kubernetes", name);
  t.equal(of({ CVM_ECS__CLUSTER: "stand", GROK_SPAWNER_FORCE_DOCKER_TYPE_HOST: "true" }), "docker");
  t.equal(of({ GROK_SPAWNER_FORCE_DOCKER_TYPE_HOST: "false" }), "ask");
  t.equal(of({ CVM_ECS__CLUSTER: "stand", BERTH_DRIVER: "process" }), "process");
  t.throws(() => of({ CVM_ECS__CLUSTER: "stand", GROK_SPAWNER_KUBERNETES__NAMESPACE: "stand" }), { code: "SETTINGS_INVALID" });
});
