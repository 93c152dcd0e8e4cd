import t from "tap";
import { openStand, specBody } from "./fixture.ts";

const FOREIGN = { image: "listening" };

t.test("the host in the path is where a service runs, of berth's own bodies and of a foreign server's", async (t) => {
  const { ask, world, second } = await openStand(t, { hosts: true });
  t.equal((await ask("POST", "/deploy/cvm/web/1", { body: specBody("web") })).status, 200);
  t.equal((await ask("POST", "/deploy/datagrok/part/1", { body: specBody("part") })).status, 200);
  t.equal((await ask("POST", "/deploy/datagrok/chem/1", { body: FOREIGN })).status, 200);
  t.strictSame([world.running(), second.running()], [["web"], ["part", "test-chem"]]);
  const listed = JSON.parse((await ask("GET", "/services")).text) as { serviceName: string }[];
  t.strictSame(listed.map(({ serviceName }) => serviceName).toSorted(), ["part", "test-chem", "web"]);
  t.match(JSON.parse((await ask("GET", "/services/test-chem")).text), { serviceName: "test-chem", running: true });
  t.match(JSON.parse((await ask("POST", "/validate/datagrok/any/1", { body: FOREIGN })).text), { id: "memory:listening" });
  t.equal((await ask("POST", "/deploy/datagrok/chem/0")).status, 200);
  t.equal((await ask("DELETE", "/services/part")).status, 200);
  t.strictSame([world.running(), second.running()], [["web"], []]);
});

t.test("a foreign server that asks for the other host has its service moved there", async (t) => {
  const { ask, world, second } = await openStand(t, { hosts: true });
  await ask("POST", "/deploy/cvm/chem/1", { body: FOREIGN });
  t.strictSame([world.running(), second.running()], [["test-chem"], []]);
  t.equal((await ask("POST", "/deploy/datagrok/chem/1", { body: FOREIGN })).status, 200);
  t.strictSame([world.running(), second.running()], [[], ["test-chem"]]);
  await ask("POST", "/deploy/datagrok/chem/1", { body: FOREIGN });
  t.equal(world.callCount("destroy test-chem"), 1, "at the second call it is the one that runs");
});

t.test("berth's own control is for the host of plugins' containers, unless a spec says another", async (t) => {
  const { driver: open, world, second } = await openStand(t, { hosts: true });
  const driver = open();
  const signal = new AbortController().signal;
  const sizes = { cpu: 1, memoryMb: 64, shmMb: 1, storageGb: 1, gpu: 0, env: {}, port: 5353, graceMs: 1 };
  const specOf = (service: string) => {
    const labels = { store: "s", environment: "test", container: service, generation: 1 };
    return { service, labels, image: "memory:listening", ...sizes, readiness: { kind: "port" as const } };
  };
  await driver.deploy(specOf("plugin"), { signal });
  await driver.deploy({ ...specOf("part"), host: "datagrok" }, { signal });
  t.strictSame([world.running(), second.running()], [["plugin"], ["part"]]);
  await driver.close();
});
