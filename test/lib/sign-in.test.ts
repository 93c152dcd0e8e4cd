import { randomBytes } from "node:crypto";
import t from "tap";
import { isSessionToken } from "../../lib/sign-in.ts";

t.test("a session's token is distinguished by its form from what cannot be one", async (t) => {
  for (let n = 0; n < 100; n++) t.ok(isSessionToken(randomBytes(32).toString("base64url")));
  for (const text of ["", "token", "a".repeat(42), `${"a".repeat(42)} `, `${"a".repeat(42)}"`, "a".repeat(513), `${"a".repeat(43)}\n`])
    t.notOk(isSessionToken(text), JSON.stringify(text.slice(0, 50)));
});
