import t from "tap";
import { BoundedMap } from "../../lib/bounded-map.ts";

t.test("a full map forgets its oldest entry, and none where an entry is set again", async (t) => {
  const map = new BoundedMap<string, number>(2);
  map.set("a", 1).set("b", 2).set("a", 3);
  t.strictSame(
    [...map],
    [
      ["a", 3],
      ["b", 2],
    ],
  );
  map.set("c", 4);
  t.strictSame(
    [...map],
    [
      ["b", 2],
      ["c", 4],
    ],
  );
});
