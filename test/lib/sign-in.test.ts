import { randomBytes } from "node:crypto";
import { array, assert, constantFrom, property, record } from "fast-check";
import t from "tap";
import { CredentialHeaders, credentials, isOwnSessionToken, isSessionToken } from "../../lib/sign-in.ts";

t.test("a session's token is distinguished by its form from what cannot be one", async (t) => {
  for (let n = 0; n < 100; n++) t.ok(isSessionToken(randomBytes(32).toString("base64url")));
  for (const text of ["", "token", "a".repeat(42), `${"a".repeat(42)} `, `${"a".repeat(42)}"`, "a".repeat(513), `${"a".repeat(43)}\n`])
    t.notOk(isSessionToken(text), JSON.stringify(text.slice(0, 50)));
});

t.test("a token of this version has 43 characters of base64url", async (t) => {
  for (let n = 0; n < 100; n++) t.ok(isOwnSessionToken(randomBytes(32).toString("base64url")));
  for (const text of ["", "a".repeat(42), "a".repeat(44), `${"a".repeat(42)}.`, `${"a".repeat(42)}\n`]) t.notOk(isOwnSessionToken(text), text);
});

const VALUE = array(constantFrom("a", "token", " ", "\t", "\u00a0", "Bearer ", "bearer", "Basic", "auth=", ";", "%41", '"', "auth", "x=")).map(
  (parts) => parts.join(""),
);

t.test("the first credential is the first of all, and another is never overlooked", async () => {
  assert(
    property(record({ "x-user-api-key": VALUE, authorization: VALUE, cookie: VALUE }, { requiredKeys: [] }), (headers: Record<string, string>) => {
      const header = (name: string) => headers[name];
      const [first, second] = [...credentials(header)];
      const read = new CredentialHeaders({ header });
      if (read.token !== first?.token) return false;
      return first === undefined || (read.from === first.from && (second === undefined || read.hasMore));
    }),
    { numRuns: 5_000 },
  );
});
