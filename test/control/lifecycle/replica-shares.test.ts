import t from "tap";
import { createReplicaShares } from "../../../control/lifecycle/replica-shares.ts";
import type { ReplicaSet } from "../../../control/lifecycle/replica-sets.ts";
import type { Container } from "../../../control/model/entities.ts";
import { newContainer, newImage } from "./lifecycle-fixture.ts";

const CONFIG = { cpu: 1, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: false };

function openSets(most: number | undefined) {
  const sets = new Map<string, ReplicaSet>();
  let now = 0;
  const shares = createReplicaShares({ all: () => [...sets.values()] }, most, () => now);
  const add = (packageId: string): Container => {
    const container = { ...newContainer(newImage(packageId, 0), CONFIG, 0), packageId };
    sets.set(container.id, { container, others: new Map() });
    return container;
  };
  /** As the adjustment of its replicas does. */
  const take = (row: Container, missing: number): number => {
    const { granted, done } = shares.take(row, missing);
    const others = new Map(sets.get(row.id)?.others);
    for (let count = 0; count < granted; count++) others.set(`${row.id} ${others.size}`, { ...row, desiredInstances: 1 });
    sets.set(row.id, { container: row, others });
    done();
    return granted;
  };
  const giveBack = (row: Container, count: number) => {
    const others = [...(sets.get(row.id)?.others ?? [])].slice(count);
    sets.set(row.id, { container: row, others: new Map(others) });
  };
  return { shares, add, take, giveBack, pass: (ms: number) => void (now += ms) };
}

t.test("without a bound each container gets what it needs", async (t) => {
  const { add, take, shares } = openSets(undefined);
  const one = add("one");
  t.equal(take(one, 49), 49);
  t.notOk(shares.isWaiting(one.id));
});

t.test("one package alone may have all", async (t) => {
  const { add, take, shares } = openSets(5);
  const one = add("one");
  t.equal(take(one, 7), 5);
  t.ok(shares.isWaiting(one.id));
  t.equal(take(one, 0), 0);
  t.notOk(shares.isWaiting(one.id), "it needs no more");
});

t.test("one that has not requested more since then does not wait any more", async (t) => {
  const { add, take, shares, pass } = openSets(1);
  const one = add("one");
  t.equal(take(one, 2), 1);
  pass(10_000);
  t.ok(shares.isWaiting(one.id));
  pass(1);
  t.notOk(shares.isWaiting(one.id));
});

t.test("what becomes free goes one by one to the package with the fewest", async (t) => {
  const { add, take, giveBack } = openSets(6);
  const [one, two, three] = [add("one"), add("two"), add("three")];
  t.equal(take(one, 6), 6);
  t.equal(take(two, 4), 0);
  t.equal(take(three, 4), 0);
  giveBack(one, 4);
  t.equal(take(one, 4), 0, "others have fewer");
  const counts = { two: 0, three: 0 };
  for (let turn = 0; turn < 4; turn++) {
    counts.two += take(two, 4 - counts.two);
    counts.three += take(three, 4 - counts.three);
  }
  t.same(counts, { two: 2, three: 2 });
});

t.test("a container that asks no more is waited for no longer", async (t) => {
  const { add, take, giveBack, pass } = openSets(2);
  const [one, two] = [add("one"), add("two")];
  t.equal(take(one, 2), 2);
  t.equal(take(two, 1), 0);
  giveBack(one, 1);
  t.equal(take(one, 1), 0);
  pass(11_000);
  t.equal(take(one, 1), 1);
});

t.test("what is granted and not stored yet counts", async (t) => {
  const { add, shares } = openSets(2);
  const first = shares.take(add("one"), 2);
  t.equal(first.granted, 2);
  t.equal(shares.take(add("two"), 1).granted, 0);
  first.done();
});
