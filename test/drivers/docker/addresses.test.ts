import t from "tap";
import {
  createRotation,
  candidates,
  enginePart,
  overlaps,
  parseRoutes,
  parseSubnet,
  type Subnet,
  writeSubnet,
} from "../../../drivers/docker/addresses.ts";
import { packageNetworkName } from "../../../drivers/docker/bridge-network.ts";
import { createStillClock } from "../../fixtures/clock.ts";

const REST_MS = 60_000;

t.test("a number rests before it is given again, however few there are besides", async (t) => {
  const clock = createStillClock();
  const rotation = createRotation(4, REST_MS, clock);
  const first = rotation.take() as number;
  rotation.release(first);
  const others = [rotation.take(), rotation.take(), rotation.take()];
  t.notOk(others.includes(first), "all others come first");
  t.equal(new Set(others).size, 3);
  t.equal(rotation.take(), first, "one that rested a little is better than none");
  t.equal(rotation.take(), undefined);
  t.ok(rotation.isFull());
  rotation.release(first);
  void clock.advance(REST_MS + 1);
  t.equal(rotation.take(), first);
});

t.test("what a list shows is in use, and what it no longer shows rests", async (t) => {
  const clock = createStillClock();
  const rotation = createRotation(3, REST_MS, clock);
  rotation.update(new Set([0, 1]), clock.monotonic());
  t.equal(rotation.take(), 2);
  void clock.advance(10);
  rotation.update(new Set([1]), clock.monotonic() - 20);
  t.equal(rotation.take(), undefined, "a list from before it was taken does not free it");
  rotation.update(new Set([1]), clock.monotonic());
  t.equal(rotation.take(), 0, "the one that rested longest");
  t.equal(rotation.take(), 2);
});

t.test("a process that starts anew begins behind what the one before gave", async (t) => {
  const clock = createStillClock();
  const before = createRotation(4_096, REST_MS, clock);
  const given = new Set(
    Array.from({ length: 40 }, () => {
      void clock.advance(1_000);
      return before.take();
    }),
  );
  const after = createRotation(4_096, REST_MS, clock);
  t.ok(given.has(after.take()), "of the very moment");
  for (let n = 0; n < 40; n++) t.notOk(given.has(after.take()));
});

t.test("networks are read, written and cut", async (t) => {
  const of = (cidr: string) => parseSubnet(cidr) as Subnet;
  t.equal(writeSubnet(of("10.201.16.9/20")), "10.201.16.0/20");
  for (const wrong of ["10.0.0.0", "10.0.0.0/33", "300.0.0.0/8", "fd00::/64", ""]) t.equal(parseSubnet(wrong), undefined, wrong);
  t.ok(overlaps(of("10.0.0.0/8"), of("10.201.0.0/16")));
  t.notOk(overlaps(of("10.201.0.0/20"), of("10.201.16.0/20")));
  t.equal(writeSubnet(enginePart(of("10.201.0.0/20"))), "10.201.0.0/24");
  t.equal(writeSubnet(enginePart(of("10.201.0.16/28"))), "10.201.0.16/29");
  const all = [...candidates([of("10.1.0.0/30"), of("10.2.0.0/30")], 2, 3)].map(writeSubnet);
  t.same(all, ["10.2.0.2/31", "10.1.0.0/31", "10.1.0.2/31", "10.2.0.0/31"]);
  const routes =
    "Iface\tDestination\tGateway\nx\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\nx\t0000C90A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
  t.same(parseRoutes(routes).map(writeSubnet), ["10.201.0.0/16"]);
});

t.test("each package of each store has a network, which is the last in the alphabet", async (t) => {
  const names = [
    packageNetworkName("berth", { store: "a", package: "@scope/Chem" }),
    packageNetworkName("berth", { store: "a", package: "scope-chem" }),
    packageNetworkName("berth", { store: "b", package: "scope-chem" }),
  ];
  t.equal(new Set(names).size, 3);
  for (const name of names) t.match(name, /^z-berth-scope-chem-[0-9a-f]{8}$/);
});
