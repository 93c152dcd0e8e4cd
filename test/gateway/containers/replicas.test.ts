import t from "tap";
import type { ContainerAddress } from "../../../gateway/contract.ts";
import { createReplicaUses, leastLoaded, OpenLoad, preferredReplica, replicaCookie, replicaUseAt } from "../../../gateway/containers/replicas.ts";

const ID = "3f1c9a52-7b0e-4d16-9a41-0123456789ab";
const ADDRESSES: readonly ContainerAddress[] = [
  { host: "10.0.0.1", port: 80, replica: 1 },
  { host: "10.0.0.2", port: 80, replica: 2, owner: "second" },
  { host: "10.0.0.3", port: 80, replica: 3, owner: "third" },
];

t.test("the replica with the fewest exchanges is chosen, and equals take turns", async (t) => {
  const uses = createReplicaUses();
  const choose = (turn: number, preferred?: number) => leastLoaded(uses, ADDRESSES, { preferred, limit: 3, turn })?.replica;
  t.same(
    [0, 1, 2, 3].map((turn) => choose(turn)),
    [1, 2, 3, 1],
  );
  for (const [index, open] of [2, 1, 2].entries()) replicaUseAt(uses, ADDRESSES[index] as ContainerAddress).open = open;
  t.same(
    [0, 1, 2].map((turn) => choose(turn)),
    [2, 2, 2],
  );
  t.equal(choose(0, 3), 3, "but a browser goes where it was");
  t.equal(choose(0, 7), 2, "as long as that one is there");
  replicaUseAt(uses, ADDRESSES[2] as ContainerAddress).open = 3;
  t.equal(choose(0, 3), 2, "and has a place");
});

t.test("an address that another replica has now is counted anew", async (t) => {
  const uses = createReplicaUses();
  const before = replicaUseAt(uses, { host: "10.0.0.2", port: 80, replica: 2, owner: "second" });
  before.open = 1;
  const now = replicaUseAt(uses, { host: "10.0.0.2", port: 80, replica: 4, owner: "fourth" });
  t.match([now.open, now.use?.id], [0, "fourth"]);
});

t.test("a cookie names the replica of one container, and nothing else counts as one", async (t) => {
  const [name, line] = replicaCookie(ID, 3, true);
  t.same([name, line], ["Set-Cookie", "berth-replica-3f1c9a52=3; Path=/; HttpOnly; SameSite=Lax; Secure"]);
  t.equal(preferredReplica("a=1; berth-replica-3f1c9a52=3", ID), 3);
  for (const other of [
    undefined,
    "",
    "berth-replica-3f1c9a52=x",
    "berth-replica-3f1c9a52=99999",
    "berth-replica-00000000=3",
    "x=berth-replica-3f1c9a52=3",
  ])
    t.equal(preferredReplica(other, ID), undefined, String(other));
});

t.test("the load is the number of open exchanges over time, and a report that is lost is in the next one", async (t) => {
  let now = 0;
  const load = new OpenLoad(() => now);
  load.change(2);
  now = 1_000;
  load.change(1);
  now = 1_500;
  const report = load.take();
  t.same(report, { average: (2 * 1_000 + 3 * 500) / 1_500, ms: 1_500 });
  load.putBack(report);
  load.change(-3);
  now = 9_000;
  t.same(load.take(), { average: (2 * 1_000 + 3 * 500) / 9_000, ms: 9_000 });
  t.same(load.take(), { average: 0, ms: 0 });
});
