import t from "tap";
import { createSignInAttempts } from "../../../control/identity/attempts.ts";
import { createStillClock } from "../../fixtures/clock.ts";

t.test("an address that keeps showing wrong keys is not listened to for a while, and others are", async (t) => {
  const clock = createStillClock();
  const attempts = createSignInAttempts({ clock });
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

t.test("from however many addresses, all that have failed wait together; a fresh one, and one with a success, are listened to", async (t) => {
  const clock = createStillClock();
  const attempts = createSignInAttempts({ clock });
  const address = (peer: number) => `10.0.${peer >> 8}.${peer & 255}`;
  attempts.succeeded("2.2.2.2", "right");
  attempts.failed("2.2.2.2");
  for (let peer = 0; peer < 500; peer++) attempts.failed(address(peer));
  t.throws(() => attempts.check(address(7)), { code: "TOO_MANY_ATTEMPTS" }, "after a single failure");
  t.doesNotThrow(() => attempts.check("1.1.1.1"), "a fresh address");
  t.doesNotThrow(() => attempts.check(undefined), "this machine's own user");
  t.doesNotThrow(() => attempts.check("2.2.2.2"), "an address with a success, although it has failed since");
  await clock.advance(24 * 3_600_000 + 1);
  attempts.failed("2.2.2.2");
  for (let peer = 0; peer < 500; peer++) attempts.failed(address(peer));
  t.throws(() => attempts.check("2.2.2.2"), { code: "TOO_MANY_ATTEMPTS" }, "a success counts for a day");
});

t.test("who has all of a /64 is one client, and so is an IPv4 address however it is written", (t) => {
  const groups: [same: string[], other: string][] = [
    [["2001:db8:1:2::1", "2001:DB8:1:2:ffff::", "2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002::7", "2001:db8:1:2::1.2.3.4"], "2001:db8:1:3::1"],
    [["::1", "0:0:0:0:0:0:0:1", "::", "::5:6:7:8"], "1::"],
    [["fe80::1%eth0", "fe80::2%eth1"], "fe80:0:0:1::1"],
    [["1.2.3.4", "::ffff:1.2.3.4", "0:0:0:0:0:ffff:1.2.3.4"], "1.2.3.5"],
  ];
  for (const [same, other] of groups) {
    const attempts = createSignInAttempts({ clock: createStillClock() });
    for (let tried = 0; tried < 10; tried++) attempts.failed(same[tried % same.length]);
    for (const peer of same) t.throws(() => attempts.check(peer), { code: "TOO_MANY_ATTEMPTS" }, peer);
    t.doesNotThrow(() => attempts.check(other), other);
  }
  t.end();
});

t.test("a key that was right from an address is listened to there, whatever others do behind the same address; no other key is", (t) => {
  const attempts = createSignInAttempts({ clock: createStillClock() });
  attempts.succeeded("1.1.1.1", "anna's");
  for (let tried = 0; tried < 10; tried++) attempts.failed("1.1.1.1");
  t.doesNotThrow(() => attempts.check("1.1.1.1", "anna's"));
  t.throws(() => attempts.check("1.1.1.1", "max's"), { code: "TOO_MANY_ATTEMPTS" });
  t.throws(() => attempts.check("1.1.1.1"), { code: "TOO_MANY_ATTEMPTS" });
  for (let tried = 0; tried < 10; tried++) attempts.failed("1.1.1.2");
  t.throws(() => attempts.check("1.1.1.2", "anna's"), { code: "TOO_MANY_ATTEMPTS" }, "from elsewhere its answer would tell that it is a key");
  t.end();
});

t.test("of many addresses the ones that failed longest ago are forgotten", async (t) => {
  const once = { burst: 1, everyMs: 1_000 };
  const attempts = createSignInAttempts({
    clock: createStillClock(),
    limits: { ofAPeer: once, ofAll: { burst: 100, everyMs: 1 }, knownMs: 1_000, mostPeers: 2 },
  });
  for (const peer of ["first", "second", "first", "third"]) attempts.failed(peer);
  for (const peer of ["first", "third"]) t.throws(() => attempts.check(peer), { code: "TOO_MANY_ATTEMPTS" }, peer);
  t.doesNotThrow(() => attempts.check("second"));
});
