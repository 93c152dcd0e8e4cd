import t from "tap";
import { openAttempts } from "../../../control/identity/attempts.ts";
import { stillClock } from "../../fixtures/still-clock.ts";

t.test("an address that keeps showing wrong keys is not listened to for a while, and others are", async (t) => {
  const clock = stillClock();
  const attempts = openAttempts({ clock });
  for (let tried = 0; tried < 10; tried++) {
    t.doesNotThrow(() => attempts.check("1.1.1.1"), `attempt ${tried}`);
    attempts.failed("1.1.1.1");
  }
  t.throws(() => attempts.check("1.1.1.1"), { code: "TOO_MANY_ATTEMPTS", status: 429, retryAfterMs: 5_000 });
  t.doesNotThrow(() => attempts.check("1.1.1.2"));
  t.doesNotThrow(() => attempts.check(undefined), "nor is this machine's own user");
  await clock.advance(4_999);
  t.throws(() => attempts.check("1.1.1.1"), { code: "TOO_MANY_ATTEMPTS" });
  await clock.advance(1);
  t.doesNotThrow(() => attempts.check("1.1.1.1"));
  attempts.failed("1.1.1.1");
  t.throws(() => attempts.check("1.1.1.1"), { code: "TOO_MANY_ATTEMPTS" }, "one more each five seconds");
  await clock.advance(60_000);
  for (let tried = 0; tried < 10; tried++) attempts.failed("1.1.1.1");
  t.throws(() => attempts.check("1.1.1.1"), { code: "TOO_MANY_ATTEMPTS" });
});

t.test("from however many addresses, there is a limit for all together", async (t) => {
  const clock = stillClock();
  const attempts = openAttempts({ clock });
  for (let peer = 0; peer < 500; peer++) attempts.failed(`10.0.${peer >> 8}.${peer & 255}`);
  t.throws(() => attempts.check("1.1.1.1"), { code: "TOO_MANY_ATTEMPTS" });
  t.throws(() => attempts.check(undefined), { code: "TOO_MANY_ATTEMPTS" });
  await clock.advance(100);
  t.doesNotThrow(() => attempts.check("1.1.1.1"));
});

t.test("of many addresses the ones that failed longest ago are forgotten", async (t) => {
  const once = { burst: 1, everyMs: 1_000 };
  const attempts = openAttempts({ clock: stillClock(), limits: { ofAPeer: once, ofAll: { burst: 100, everyMs: 1 }, mostPeers: 2 } });
  for (const peer of ["first", "second", "first", "third"]) attempts.failed(peer);
  for (const peer of ["first", "third"]) t.throws(() => attempts.check(peer), { code: "TOO_MANY_ATTEMPTS" }, peer);
  t.doesNotThrow(() => attempts.check("second"));
});
