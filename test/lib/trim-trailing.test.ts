import t from "tap";
import { trimTrailing } from "../../lib/trim-trailing.ts";

t.test("the given characters are taken off the end, and only there", async (t) => {
  t.equal(trimTrailing("/api//", "/"), "/api");
  t.equal(trimTrailing("///", "/"), "");
  t.equal(trimTrailing("a. . .", " ."), "a");
  t.equal(trimTrailing("", "/"), "");
});
