import t from "tap";
import { readSettings } from "../../../conf/read-settings.ts";
import { call, rejectsWith, specOf } from "../conformance.ts";
import { openWorld } from "./test-cluster.ts";

const SPREAD = { maxSkew: 1, topologyKey: "topology.kubernetes.io/zone", whenUnsatisfiable: "ScheduleAnyway" };
const placementOf = (env: Record<string, string>) => {
  const { cvm, datagrok } = readSettings({ env }).settings.kubernetes;
  return { cvm, datagrok };
};

t.test("pods run where and how the settings say, by their host", async (t) => {
  const { cluster, open, image, podOf } = await openWorld(t);
  cluster.admission.classes = ["gvisor", "batch", "critical"];
  const driver = open(
    placementOf({
      BERTH_KUBERNETES_CVM_NODE_SELECTOR: "role=cvm, disk=ssd",
      BERTH_KUBERNETES_CVM_TOLERATIONS: '[{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]',
      BERTH_KUBERNETES_CVM_TOPOLOGY_SPREAD: JSON.stringify([SPREAD]),
      BERTH_KUBERNETES_CVM_RUNTIME_CLASS: "gvisor",
      BERTH_KUBERNETES_CVM_PRIORITY_CLASS: "batch",
      BERTH_KUBERNETES_CVM_ANNOTATIONS: '{"sidecar.istio.io/inject": "false", "berth.container": "not this one"}',
      BERTH_KUBERNETES_DATAGROK_PRIORITY_CLASS: "critical",
      BERTH_KUBERNETES_DATAGROK_NODE_SELECTOR: "role=datagrok",
    }),
  );
  const spec = await specOf(driver, "placed", await image("worker"), { graceMs: 1 });
  await driver.deploy(spec, call());
  const common = {
    tolerations: [{ key: "gpu", operator: "Exists", effect: "NoSchedule" }],
    topologySpreadConstraints: [{ ...SPREAD, labelSelector: { matchLabels: { "app.kubernetes.io/managed-by": "berth" } } }],
    runtimeClassName: "gvisor",
  };
  t.match(podOf("placed")?.spec, { ...common, nodeSelector: { role: "cvm", disk: "ssd" }, priorityClassName: "batch" });
  t.match(podOf("placed")?.metadata.annotations, { "sidecar.istio.io/inject": "false", "berth.container": spec.labels.container });
  await driver.destroy("placed", call());

  await driver.deploy({ ...spec, host: "datagrok" }, call());
  t.strictSame(podOf("placed")?.spec?.["nodeSelector"], { role: "datagrok" });
  t.match(podOf("placed")?.spec, { ...common, priorityClassName: "critical" }, "what is unset is as for containers");
  await driver.destroy("placed", call());

  cluster.admission.classes = [];
  t.match((await rejectsWith(t, "SPEC_REFUSED", driver.deploy(spec, call()))).message, /no PriorityClass with name batch was found/);
});

t.test("values that no pod may have are refused, by berth or by the cluster", async (t) => {
  for (const [field, value] of [
    ["NODE_SELECTOR", "role"],
    ["NODE_SELECTOR", "role=not a label"],
    ["TOLERATIONS", '[{"kee": "gpu"}]'],
    ["TOLERATIONS", '[{"effect": "Sometimes"}]'],
    ["TOLERATIONS", "gpu"],
    ["TOPOLOGY_SPREAD", '[{"maxSkew": 1}]'],
    ["TOPOLOGY_SPREAD", '[{"maxSkew": "1", "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]'],
    ["RUNTIME_CLASS", "No Name"],
    ["ANNOTATIONS", '{"a": 1}'],
  ] as const)
    t.throws(() => placementOf({ [`BERTH_KUBERNETES_CVM_${field}`]: value }), { code: "SETTINGS_INVALID" }, `${field} ${value}`);

  const { open, image } = await openWorld(t);
  for (const [field, value] of [
    ["TOLERATIONS", '[{"key": "gpu", "operator": "Exists", "value": "yes"}]'],
    ["TOLERATIONS", '[{"operator": "Equal"}]'],
    ["TOPOLOGY_SPREAD", JSON.stringify([{ ...SPREAD, maxSkew: 0 }])],
    ["TOPOLOGY_SPREAD", JSON.stringify([SPREAD, SPREAD])],
  ] as const) {
    const driver = open(placementOf({ [`BERTH_KUBERNETES_CVM_${field}`]: value }));
    await rejectsWith(t, "SPEC_REFUSED", driver.deploy(await specOf(driver, "refused", await image("worker"), { graceMs: 1 }), call()));
  }
});
