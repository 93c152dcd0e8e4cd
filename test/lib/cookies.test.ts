import { array, assert, constantFrom, property } from "fast-check";
import t from "tap";
import { cookieValues, mapCookies } from "../../lib/cookies.ts";

/** The same by lists. */
function byLists(header: string, of: (name: string, value: string) => string | undefined): string {
  const kept: string[] = [];
  for (const pair of header.split(";")) {
    const equals = pair.indexOf("=");
    const value = pair.slice(equals + 1).trimEnd();
    const now = equals === -1 ? value : of(pair.slice(0, equals).trim(), value);
    if (equals === -1 || now === value) kept.push(pair);
    else if (now !== undefined) kept.push(`${pair.slice(0, equals + 1)}${now}`);
  }
  return kept.join(";").trimStart();
}

const PIECES = ["a", "=", ";", " ", "auth", "auth=old", "; ", "auth=out;", "out=1", '"'];

t.test("cookies change by name, and every other byte stays", async (t) => {
  const of = (name: string, value: string) => (name === "out" || value === "out" ? undefined : value === "old" ? "newer" : value);
  assert(
    property(
      array(constantFrom(...PIECES), { maxLength: 12 }).map((pieces) => pieces.join("").trim()),
      (header) => {
        const [calls, expectedCalls]: [unknown[], unknown[]] = [[], []];
        const changed = mapCookies(header, (...pair) => (calls.push(pair), of(...pair)));
        const expected = byLists(header, (...pair) => (expectedCalls.push(pair), of(...pair)));
        return changed.trimStart() === expected && JSON.stringify(calls) === JSON.stringify(expectedCalls);
      },
    ),
    { numRuns: 5_000 },
  );
  t.equal(
    mapCookies(" a=1;  b", (_, value) => value),
    " a=1;  b",
  );
});

t.test("tens of thousands of pairs without a value take a moment", async (t) => {
  const before = performance.now();
  mapCookies("a;".repeat(32_000), (_, value) => value);
  t.ok(performance.now() - before < 1_000);
});

t.test("the values of a cookie are those of its exact name, in order, and not more than a browser has", async (t) => {
  const header = 'auth=one;xauth=no; auth="two"; authx=no;auth; auth=%74hree; auth=';
  t.strictSame([...cookieValues(header, "auth")], ["one", "two", "three", ""]);
  t.strictSame([...cookieValues(undefined, "auth")], []);
  t.equal([...cookieValues("auth=a;".repeat(100), "auth")].length, 16);
});
