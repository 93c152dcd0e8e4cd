import t from "tap";
import { createKeyedMutex } from "../../lib/keyed-mutex.ts";

t.test("tasks of one key run one after the other in their order, also after one that failed; other keys do not wait", async (t) => {
  const alone = createKeyedMutex();
  const first = Promise.withResolvers<void>();
  const began: string[] = [];
  const task = (name: string, end: Promise<void>) => () => (began.push(name), end);
  const results = [alone("a", task("a1", first.promise)), alone("a", task("a2", Promise.resolve()))];
  await alone("b", task("b1", Promise.resolve()));
  t.strictSame(began, ["a1", "b1"]);
  first.reject(new Error("own"));
  await t.rejects(results[0] ?? Promise.resolve(), { message: "own" });
  await results[1];
  t.strictSame(began, ["a1", "b1", "a2"]);
});

t.test("a task whose signal aborts before its turn does not run, and the next one does", async (t) => {
  const alone = createKeyedMutex();
  const first = Promise.withResolvers<void>();
  const left = new AbortController();
  const began: string[] = [];
  const one = alone("a", () => first.promise);
  const two = alone("a", async () => void began.push("two"), left.signal);
  const three = alone("a", async () => void began.push("three"));
  left.abort(new Error("left"));
  first.resolve();
  await t.rejects(two, { message: "left" });
  await Promise.all([one, three]);
  t.strictSame(began, ["three"]);
});
