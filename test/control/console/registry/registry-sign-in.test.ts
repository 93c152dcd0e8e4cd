import t from "tap";
import { createRegistrySessions } from "../../../../control/console/registry/registry-sign-in.ts";
import { createRecentPushes } from "../../../../control/console/registry/open-registry-console.ts";
import { createStillClock } from "../../../fixtures/clock.ts";

const of = (userId: string) => ({ user: { userId, login: userId, admin: false }, token: `of-${userId}` });

t.test("a session ends with its time, or at sign-out", async (t) => {
  const clock = createStillClock();
  const sessions = createRegistrySessions({ clock, limits: { lifeMs: 1_000, most: 10, mostOfAUser: 10 } });
  const [one, other] = [sessions.begin(of("anna")), sessions.begin(of("anna"))];
  t.equal(Buffer.from(one, "base64url").length, 32);
  t.match(sessions.find(one), of("anna"));
  sessions.end(other);
  t.equal(sessions.find(other), undefined);
  await clock.advance(1_000);
  t.equal(sessions.find(one), undefined);
  t.equal(sessions.find("made-up"), undefined);
});

t.test("who signs in again and again ends sessions of their own, not others'; beyond all that there may be, the oldest goes", (t) => {
  const sessions = createRegistrySessions({ clock: createStillClock(), limits: { lifeMs: 1_000, most: 3, mostOfAUser: 2 } });
  const berts = sessions.begin(of("bert"));
  const annas = [1, 2, 3].map(() => sessions.begin(of("anna")));
  t.same(
    annas.map((secret) => sessions.find(secret) !== undefined),
    [false, true, true],
  );
  t.ok(sessions.find(berts));
  sessions.begin(of("carl"));
  t.notOk(sessions.find(berts));
  t.end();
});

t.test("the last pushes are remembered, so many of them, and none that was deleted", async (t) => {
  const clock = createStillClock(1_000);
  const pushes = createRecentPushes({ clock, most: 2 });
  pushes.record({ repository: "a", reference: "1", by: "anna" });
  pushes.record({ repository: "a", reference: "2", by: "bert" });
  await clock.advance(500);
  pushes.record({ repository: "a", reference: "1", by: "carl" });
  pushes.record({ repository: "a", reference: "3" });
  t.same(
    ["1", "2", "3"].map((tag) => pushes.of("a", tag)),
    [{ at: 1_500, by: "carl" }, undefined, { at: 1_500, by: undefined }],
  );
  pushes.record({ repository: "a", reference: "1", deleted: true });
  t.equal(pushes.of("a", "1"), undefined);
});
