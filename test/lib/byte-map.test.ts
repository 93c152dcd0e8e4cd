import { array, assert, boolean, constantFrom, integer, oneof, property, record, string } from "fast-check";
import { randomFillSync } from "node:crypto";
import t from "tap";
import { ByteMap } from "../../lib/byte-map.ts";

const MAX = 12;
/** With it, all keys of one length have the same hash. */
const collide = (numbers: Int32Array) => numbers.fill(0);

const KEY = oneof(
  constantFrom("", "a", "b", "ab", "ba", "a".repeat(MAX), "a".repeat(MAX + 1), "é", "€", "a\u0000"),
  integer({ min: 0, max: 400 }).map(String),
  string({ unit: "binary", maxLength: MAX + 4 }),
);
const STEP = record({ act: constantFrom("set", "set", "set", "delete", "get", "clear"), key: KEY, value: integer() });

/** How bytes that are not at the begin of their memory are found. */
function byBytes<Value>(map: ByteMap<Value>, key: string): Value | undefined {
  const bytes = Buffer.from(`>>${key}<<`, "latin1");
  return map.getBytes(bytes, 2, bytes.length - 2);
}

function sorted(numbers: Iterable<number>): number[] {
  return [...numbers].toSorted((one, other) => one - other);
}

t.test("it agrees with a map of strings, whatever is done to it", async () => {
  assert(
    property(array(STEP, { maxLength: 300 }), boolean(), (steps, collides) => {
      const map = new ByteMap<number>({ maxKeyBytes: MAX, ...(collides ? { factors: collide } : {}) });
      const expected = new Map<string, number>();
      for (const { act, key, value } of steps) {
        if (act === "set") {
          map.set(key, value);
          expected.set(key, value);
        } else if (act === "delete") {
          if (map.delete(key) !== expected.delete(key)) return false;
        } else if (act === "clear" && value % 20 === 0) {
          map.clear();
          expected.clear();
        }
        if (map.get(key) !== expected.get(key) || map.size !== expected.size) return false;
      }
      for (const [key, value] of expected) {
        const isKeptByBytes = key !== "" && key.length <= MAX && Buffer.from(key, "latin1").toString("latin1") === key;
        if (map.get(key) !== value || byBytes(map, key) !== (isKeptByBytes ? value : undefined)) return false;
      }
      return sorted(map.values()).join() === sorted(expected.values()).join();
    }),
    { numRuns: 500 },
  );
});

t.test("keys of one bucket differ by their bytes", async (t) => {
  const map = new ByteMap<number>({ maxKeyBytes: 8, factors: collide });
  for (let key = 100; key < 300; key++) map.set(String(key), key);
  for (let key = 100; key < 300; key += 2) map.delete(String(key));
  for (let key = 100; key < 300; key++) t.equal(byBytes(map, String(key)), key % 2 === 0 ? undefined : key);
  t.equal(byBytes(map, "3"), undefined);
});

t.test("it grows, and finds everything by bytes and by text", async (t) => {
  const map = new ByteMap<number>({ maxKeyBytes: 8 });
  for (let key = 0; key < 10_000; key++) map.set(String(key), key);
  t.equal(map.size, 10_000);
  for (let key = 0; key < 10_000; key++) if (map.get(String(key)) !== key || byBytes(map, String(key)) !== key) t.fail(String(key));
});

t.test("a full map replaces its oldest entry, and keeps its size", async (t) => {
  const map = new ByteMap<number>({ maxKeyBytes: 4, maxSize: 3 });
  for (let key = 1; key <= 5; key++) map.set(String(key), key);
  t.same(sorted(map.values()), [3, 4, 5]);
  map.set("3", 33);
  t.equal(map.get("3"), 33, "to set an entry again replaces no other");
  map.delete("4");
  map.set("6", 6);
  t.same(sorted(map.values()), [5, 6, 33]);
  for (let key = 10; key < 200; key++) {
    map.set(key % 3 === 0 ? `long ${key}` : String(key), key);
    t.ok(map.size <= 3);
    t.equal(map.get(key % 3 === 0 ? `long ${key}` : String(key)), key);
  }
});

t.test("keys that a client makes alike are spread like others, and differently in each process", async (t) => {
  /** The longest chain of keys whose hashes share their upper bits. */
  const spread = (keys: readonly string[]): number[] => {
    const factors = randomFillSync(new Int32Array(44));
    const buckets = new Map<number, number>();
    for (const key of keys) {
      const hash = [...key].reduce(
        (sum, character, at) => (sum + Math.imul(factors[at] ?? 0, character.charCodeAt(0))) | 0,
        factors[key.length] ?? 0,
      );
      const bucket = hash >>> 20;
      buckets.set(bucket, (buckets.get(bucket) ?? 0) + 1);
    }
    return [...buckets.values()];
  };
  const alike = Array.from({ length: 4_096 }, (_, at) => `${"a".repeat(30)}${at.toString(16).padStart(4, "0")}${"b".repeat(9)}`);
  for (let process = 0; process < 20; process++) t.ok(Math.max(...spread(alike)) < 64, "4,096 keys in as many buckets");
});

t.test("a deleted key is gone", async (t) => {
  const map = new ByteMap<number>({ maxKeyBytes: 8 });
  map.set("secret", 1);
  map.delete("secret");
  t.equal(map.get("secret"), undefined);
  t.equal(map.size, 0);
  t.same([...map.values()], []);
});
