import t from "tap";
import { createQueueBudget, type QueueBudget } from "../../../gateway/websockets/waiting-client.ts";

/** Queues by name, and which of them may be read. */
function openQueues(budget: QueueBudget) {
  const read = new Set<string>();
  return {
    read: () => [...read].toSorted(),
    join: (user: string, name: string) => {
      read.add(name);
      return budget.join(user, { pause: () => void read.delete(name), resume: () => void read.add(name) });
    },
  };
}

t.test("a user who has spent a share is not read until half of it is free, and others are", async (t) => {
  const queues = openQueues(createQueueBudget({ ofUser: 100, ofAll: 1_000 }));
  const a1 = queues.join("a", "a1");
  const a2 = queues.join("a", "a2");
  queues.join("b", "b1");
  a1.uses(60);
  a2.uses(30);
  t.same(queues.read(), ["a1", "a2", "b1"]);
  a2.uses(40);
  t.same(queues.read(), ["b1"]);
  const a3 = queues.join("a", "a3");
  t.same(queues.read(), ["b1"], "nor is one that comes then");
  a2.release();
  t.same(queues.read(), ["b1"], "60 of 100 are in use");
  a1.release();
  a1.release();
  t.same(queues.read(), ["a3", "b1"]);
  a3.uses(99);
  t.same(queues.read(), ["a3", "b1"], "what was released does not count any more");
});

t.test("what all users share is bounded as well", async (t) => {
  const queues = openQueues(createQueueBudget({ ofUser: 100, ofAll: 150 }));
  const shares = ["a", "b"].map((user) => queues.join(user, user));
  shares[0]?.uses(99);
  shares[1]?.uses(60);
  t.same(queues.read(), []);
  shares[1]?.release();
  t.same(queues.read(), [], "99 of 150 are in use");
  shares[0]?.release();
  queues.join("c", "c");
  t.same(queues.read(), ["c"]);
});
