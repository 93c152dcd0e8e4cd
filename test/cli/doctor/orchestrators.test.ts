import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { resourceName, RIGHTS } from "../../../drivers/kubernetes/cluster.ts";
import { CLUSTER, LOG_GROUP, openStand, REGION } from "../../drivers/ecs/fixture.ts";
import { NAMESPACE, openWorld, RBAC, SHELL_RBAC } from "../../drivers/kubernetes/test-cluster.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { look } from "./look.ts";

t.test("of ECS and ECR each reading call that the role is denied is named, and no other", async (t) => {
  const stand = await openStand(t, []);
  const env = {
    BERTH_DRIVER: "ecs",
    GROK_SPAWNER_CVM_ECS_CLUSTER: CLUSTER,
    GROK_SPAWNER_CVM_ECS_CLUSTER_REGION: REGION,
    GROK_SPAWNER_CVM_ECS_SUBNETS: JSON.stringify(stand.subnets),
    GROK_SPAWNER_DATAGROK_ECS__LOG_GROUP: LOG_GROUP,
  };
  const lookNow = async (more: Record<string, string> = {}) => (await look(t, ["driver"], { ...env, ...more }))["driver"];
  const well = await lookNow();
  t.match(well, { state: "ok", problems: { length: 0 } }, { well });
  t.match(await lookNow({ BERTH_SHELL: "on" }), { problems: [{ what: /no role for shells/, todo: /BERTH_ECS_SHELL_ROLE/ }] });
  t.match(await lookNow({ BERTH_SHELL: "on", BERTH_ECS_SHELL_ROLE: "arn:aws:iam::123456789012:role/shells" }), { problems: { length: 0 } });
  const allows = stand.role.allows;
  const denied = new Set(["ecs:ListTasks", "ecs:DescribeTasks", "logs:GetLogEvents", "ecr:ListImages"]);
  stand.role.allows = (action, ...more) => !denied.has(action) && allows(action, ...more);
  const current = await lookNow();
  t.equal(current?.state, "wrong");
  const named = (current?.problems ?? []).map(({ what }) => /\b(ecs|ecr|logs):\w+/.exec(what)?.[0]);
  t.same(new Set(named), denied);
});

t.test("of a Kubernetes cluster each right that the account lacks is named, and no other", async (t) => {
  const check = async (rbac: string | readonly string[], more: Record<string, string> = {}) => {
    const world = await openWorld(t, { rbac });
    const place = { GROK_SPAWNER_KUBERNETES__KUBECONFIG: world.kubeconfig, GROK_SPAWNER_KUBERNETES__NAMESPACE: NAMESPACE };
    const env = { BERTH_DRIVER: "kubernetes", ...place, ...more };
    return { row: (await look(t, ["driver"], env))["driver"], granted: world.cluster.roles.granted() };
  };
  const well = await check(RBAC);
  t.match(well.row, { state: "ok", problems: { length: 0 } });
  const wanted = RIGHTS.flatMap(({ resource, part, verbs }) =>
    verbs.map((verb) => `${verb} ${resourceName(resource)}${part === undefined ? "" : `/${part}`}`),
  );
  t.same(new Set(wanted), well.granted);
  const cut = join(tempFolder(t), "rbac.yaml");
  writeFileSync(cut, readFileSync(RBAC, "utf8").replaceAll('"patch"', '"none"'));
  const { row } = await check(cut);
  t.equal(row?.state, "wrong");
  t.equal(row?.problems.length, 2, "of Services and Secrets");
  const shells = { BERTH_SHELL: "on" };
  t.match((await check([RBAC, SHELL_RBAC], shells)).row, { state: "ok", problems: { length: 0 } });
  const withoutShells = (await check(RBAC, shells)).row?.problems ?? [];
  t.match(withoutShells, [{ what: /get pods\/exec/, todo: /rbac-shell\.yaml/ }, { what: /create pods\/exec/ }]);
});
