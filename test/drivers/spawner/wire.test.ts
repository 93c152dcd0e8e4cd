import t from "tap";
import type { Observed } from "../../../drivers/driver.ts";
import { deploymentOff, deploymentOnWire, observedOff, observedOnWire } from "../../../drivers/spawner/wire.ts";

const ONE = { host: "10.0.0.1", port: 80 };
const OTHER = { host: "10.0.0.2", port: 80 };
const PHASES = { create: 1, boot: 1 };
const service: Observed = {
  service: "web",
  labels: { store: "store", environment: "test", container: "container", generation: 1 },
  running: true,
  instance: "instance",
  addresses: [],
};

t.test("addresses arrive as they were sent, and the first is named for a peer that knows one", async (t) => {
  for (const addresses of [[], [ONE], [ONE, OTHER]]) {
    const onWire = observedOnWire({ ...service, addresses });
    t.strictSame(observedOff(onWire), { ...service, addresses });
    const deployed = deploymentOnWire("web", { addresses, instance: "instance", phases: PHASES });
    t.strictSame(deploymentOff(deployed), { addresses, instance: "instance", phases: PHASES });
    t.equal(onWire.address, addresses[0]?.host);
    t.equal(deployed.port, addresses[0]?.port);
  }
  t.notOk("addresses" in observedOnWire({ ...service, addresses: [ONE] }));
});

t.test("an address of a peer that is none does not count", async (t) => {
  const addresses = [null, { host: 7, port: 80 }, OTHER] as never;
  t.strictSame(observedOff({ ...observedOnWire(service), addresses }).addresses, [OTHER]);
});
