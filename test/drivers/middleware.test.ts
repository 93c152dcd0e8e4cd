import t from "tap";
import type { Address, Spec } from "../../drivers/driver.ts";
import { guardAddresses } from "../../drivers/middleware.ts";
import { isRefusedHost } from "../../lib/refused-addresses.ts";
import { createStillClock } from "../fixtures/clock.ts";
import { listening, openMemoryWorld } from "../fixtures/memory-driver.ts";

const REFUSED = [
  "169.254.169.254",
  "169.254.170.2",
  "169.254.0.1",
  "100.100.100.200",
  "192.0.0.192",
  "::ffff:169.254.169.254",
  "::ffff:a9fe:a9fe",
  "64:ff9b::a9fe:a9fe",
  "fd00:ec2::254",
  "FD00:0EC2:0:0::0254",
  "fe80::1",
  "fe80::1%eth0",
  "metadata.google.internal",
  "Metadata.Google.Internal.",
  "2852039166",
  "0xa9fea9fe",
  "0xa9.0xfe.0xa9.0xfe",
  "169.254.43518",
  "0251.0376.0251.0376",
];
const TAKEN = [
  "127.0.0.1",
  "::1",
  "10.1.2.3",
  "172.17.0.2",
  "fd00:ec2::253",
  "fd12::1",
  "web-1a2b3c4d",
  "task-7.datagrok.local",
  "100.100.100.201",
  "169.253.1.1",
];

t.test("addresses of the link and of clouds' metadata are refused however they are written, and no other", async (t) => {
  t.same(
    REFUSED.filter((host) => !isRefusedHost(host)),
    [],
  );
  t.same(
    TAKEN.filter((host) => isRefusedHost(host)),
    [],
  );
});

/** A driver that gets a wrong address from its orchestrator: the memory driver with another address. */
async function misled(address: Address, more: object = {}, others: Address[] = []) {
  const world = openMemoryWorld(createStillClock(), { sockets: false });
  world.apps.set("app", listening);
  const other = world.open();
  const driver = guardAddresses({
    ...other,
    deploy: async (spec, call) => ({ ...(await other.deploy(spec, call)), addresses: [...others, address] }),
    inspect: async (service, call) => {
      const fact = await other.inspect(service, call);
      return fact && { ...fact, addresses: [...others, address] };
    },
    list: async (call) => (await other.list(call)).map((fact) => ({ ...fact, addresses: [...others, address] })),
    ...more,
  });
  const labels = { store: "store", environment: "test", container: "container", generation: 1 };
  const size = { cpu: 1, memoryMb: 1, shmMb: 1, storageGb: 1, gpu: 0 };
  const call = { signal: new AbortController().signal };
  const spec: Spec = { service: "app", labels, image: "memory:app", env: {}, ...size, port: 80, readiness: { kind: "port" }, graceMs: 0 };
  return { world, driver, call, spec };
}

t.test("a container that is reported at one of them does not start, and nothing of it is left", async (t) => {
  const { world, driver, spec, call } = await misled({ host: "169.254.169.254", port: 80 });
  await t.rejects(driver.deploy(spec, call), { code: "ADDRESS_REFUSED" });
  t.same(world.running(), []);
});

t.test("nor is a running one published to gateways at such an address", async (t) => {
  const { world, driver, spec, call } = await misled({ host: "fe80::1%eth0", port: 80 });
  world.begin(spec.service, spec.labels);
  t.match(await driver.inspect("app", call), { running: true, addresses: { length: 0 } });
  t.match(await driver.list(call), [{ running: true, addresses: { length: 0 } }]);
});

t.test("of several addresses only the others are published, and a deploy refuses all", async (t) => {
  const others = [{ host: "10.0.0.1", port: 80 }];
  const { world, driver, spec, call } = await misled({ host: "169.254.169.254", port: 80 }, {}, others);
  await t.rejects(driver.deploy(spec, call), { code: "ADDRESS_REFUSED" });
  world.begin(spec.service, spec.labels);
  t.strictSame((await driver.inspect("app", call))?.addresses, others);
  t.strictSame((await driver.list(call)).map(({ addresses }) => addresses), [others]); // prettier-ignore
});

t.test("unless its driver says that its containers may be", async (t) => {
  const { driver, spec, call } = await misled({ host: "fe80::1%eth0", port: 80 }, { linkLocal: true });
  t.match(await driver.deploy(spec, call), { addresses: [{ host: "fe80::1%eth0" }] });
});
