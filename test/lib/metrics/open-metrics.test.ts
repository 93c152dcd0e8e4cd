import t from "tap";
import { Fault } from "../../../lib/fault.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";

t.test("a gauge whose values cannot be read is left out, and all others are served", async (t) => {
  const metrics = openMetrics();
  let isAway = true;
  metrics.containers.look(async (family) => {
    family.at("started").set(1);
    if (isAway) throw new Fault("STORE_UNAVAILABLE", "The database does not answer.");
  });
  metrics.gateways.look((family) => family.at().set(3));
  const names = async () => new Map((await metrics.snapshot()).map(({ name, values }) => [name, values.map(({ value }) => value)]));
  const away = await names();
  t.notOk(away.has("berth_containers"));
  t.same(away.get("berth_control_gateways"), [3]);
  isAway = false;
  t.same((await names()).get("berth_containers"), [1]);
  metrics.containers.look(() => {
    throw new Error("a bug");
  });
  await t.rejects(metrics.snapshot(), { message: "a bug" });
});
