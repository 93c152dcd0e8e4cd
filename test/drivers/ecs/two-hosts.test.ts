import { CreateClusterCommand } from "@aws-sdk/client-ecs";
import t from "tap";
import { askSpawner, startSpawner } from "../../fixtures/spawner.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { CLUSTER, EXEC_ROLE, LOG_GROUP, openStand, REGION } from "./fixture.ts";

const BODY = { image: "berth-test/ondemand:1", cpu: 0.25, memory: 256 };

/** The stand has one cluster's services, whichever a call names: the recorded calls show that the two are called apart. */
t.test("a spawner on ECS takes the block of settings that the host in the path has", async (t) => {
  const stand = await openStand(t, ["onDemand"]);
  await stand.admin.ecs.send(new CreateClusterCommand({ clusterName: "plugins" }));
  const [first, second] = stand.subnets;
  const open = async (blocks: Record<string, string>) => {
    const env = {
      BERTH_DRIVER: "ecs",
      GROK_SPAWNER_ENVIRONMENT: "hosts",
      GROK_SPAWNER_CVM_ECS__CLUSTER_REGION: REGION,
      GROK_SPAWNER_CVM_ECS__SUBNETS: JSON.stringify([first]),
      GROK_SPAWNER_CVM_ECS__LAUNCH_TYPE: "FARGATE",
      GROK_SPAWNER_DATAGROK_ECS__SUBNETS: JSON.stringify([second]),
      GROK_SPAWNER_DATAGROK_ECS__EXEC_ROLE: EXEC_ROLE,
      GROK_SPAWNER_DATAGROK_ECS__LOG_GROUP: LOG_GROUP,
      AWS_ENDPOINT_URL: stand.url,
      AWS_ACCESS_KEY_ID: "test",
      AWS_SECRET_ACCESS_KEY: "test",
      ...blocks,
    };
    const spawner = await startSpawner({ data: tempFolder(t), env });
    t.teardown(() => spawner.stop());
    return (method: string, path: string, body?: object) => askSpawner(spawner.port, method, path, body ? { body } : {});
  };
  const made = (service: string) => {
    const calls = stand.requests.filter(({ action, body }) => action === "CreateService" && body["serviceName"] === service);
    return calls.map(({ body }) => ({
      cluster: body["cluster"],
      subnets: (body["networkConfiguration"] as { awsvpcConfiguration: { subnets: string[] } }).awsvpcConfiguration.subnets,
    }));
  };

  await t.test("of one cluster for both, its subnets", async (t) => {
    const ask = await open({ GROK_SPAWNER_CVM_ECS__CLUSTER: CLUSTER });
    for (const host of ["cvm", "datagrok"]) {
      const answer = await ask("POST", `/deploy/${host}/one-${host}/1`, BODY);
      t.equal(answer.status, 200, answer.text);
    }
    t.strictSame(made("hosts-one-cvm"), [{ cluster: CLUSTER, subnets: [first] }]);
    t.strictSame(made("hosts-one-datagrok"), [{ cluster: CLUSTER, subnets: [second] }]);
    const listed = JSON.parse((await ask("GET", "/services")).text) as { serviceName: string }[];
    t.strictSame(listed.map(({ serviceName }) => serviceName).toSorted(), ["hosts-one-cvm", "hosts-one-datagrok"], "each of them once");
    for (const host of ["cvm", "datagrok"]) t.equal((await ask("POST", `/deploy/${host}/one-${host}/0`)).status, 200);
  });

  await t.test("of two, its own cluster; an older service is looked up in the other", async (t) => {
    const ask = await open({ GROK_SPAWNER_CVM_ECS__CLUSTER: "plugins", GROK_SPAWNER_DATAGROK_ECS__CLUSTER: CLUSTER });
    const answer = await ask("POST", "/deploy/datagrok/two/1", BODY);
    t.equal(answer.status, 200, answer.text);
    t.strictSame(made("hosts-two"), [{ cluster: CLUSTER, subnets: [second] }]);
    const looked = stand.requests.filter(({ action, body }) => action === "DescribeServices" && (body["services"] as string[]).includes("hosts-two"));
    t.strictSame([...new Set(looked.map(({ body }) => String(body["cluster"])))].toSorted(), [CLUSTER, "plugins"]);
  });
});
