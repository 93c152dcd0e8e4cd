import t from "tap";
import { Fault } from "../../lib/fault.ts";
import { createFairQueue, createJoinedLookups, type FairQueueLimits, SharedTurn } from "../../gateway/shared-lookups.ts";
import { createStillClock, turns } from "../fixtures/clock.ts";

const NEVER = new AbortController().signal;
const LIMITS: FairQueueLimits = { atOnce: 2, ofOne: 2, waiting: 6, waitingOfOne: 5, waitMs: 1_000 };

function openTurns(limits: Partial<FairQueueLimits> = {}) {
  const clock = createStillClock();
  const fair = createFairQueue({ ...LIMITS, ...limits }, () => new Fault("CONTROL_AWAY", "full"), clock);
  /** Who has a turn or is refused, in the order in which that happened. */
  const begun: string[] = [];
  const refused: string[] = [];
  const ends = new Map<string, () => void>();
  const ask = (owner: string, name: string, signal = NEVER) => {
    const onTurn = (over: () => void) => {
      begun.push(name);
      ends.set(name, over);
    };
    fair.take(owner, signal).then(onTurn, () => void refused.push(name));
    return turns(1);
  };
  const end = async (name: string) => {
    ends.get(name)?.();
    await turns(1);
  };
  return { clock, fair, begun, refused, ask, end };
}

t.test("who asks for many turns waits behind each other owner's next one", async (t) => {
  const { begun, ask, end } = openTurns();
  for (const name of ["a1", "a2", "a3", "a4", "a5"]) await ask("a", name);
  for (const name of ["b1", "b2", "c1"]) await ask(name.slice(0, 1), name);
  t.same(begun, ["a1", "a2"]);
  for (const name of ["a1", "a2", "b1", "a3", "c1", "b2"]) await end(name);
  t.same(begun, ["a1", "a2", "b1", "a3", "c1", "b2", "a4", "a5"]);
  await end("a1");
  await ask("d", "d1");
  t.same(begun.length, 8, "a turn ends once");
});

t.test("an owner that has all its turns leaves the others free", async (t) => {
  const { begun, ask, end } = openTurns({ atOnce: 3, ofOne: 2 });
  for (const name of ["a1", "a2", "a3", "b1", "b2"]) await ask(name.slice(0, 1), name);
  t.same(begun, ["a1", "a2", "b1"]);
  await end("b1");
  t.same(begun.at(-1), "b2");
  await end("b2");
  t.same(begun.at(-1), "b2", "a3 is not begun while two of a are under way");
  await end("a1");
  t.same(begun.at(-1), "a3");
});

t.test("an owner may have more turns while no other waits, which leaves turns for the next", async (t) => {
  const { begun, ask, end } = openTurns({ atOnce: 5, ofOne: 2, ofOneAlone: 3 });
  for (const name of ["a1", "a2", "a3", "a4"]) await ask("a", name);
  t.same(begun, ["a1", "a2", "a3"]);
  const left = new AbortController();
  for (const name of ["b1", "b2", "b3"]) await ask("b", name, left.signal);
  t.same(begun.slice(3), ["b1", "b2"]);
  await end("a1");
  t.same(begun.slice(5), [], "while another waits, the smaller limit counts");
  left.abort();
  await turns(1);
  t.same(begun.slice(5), ["a4"]);
});

t.test("a turn that several owners want begins with the first that comes, and fails with the last", async (t) => {
  const { clock, fair, begun, refused, ask, end } = openTurns({ atOnce: 2, ofOne: 1 });
  const over = new AbortController();
  const share = () => {
    const turn = new SharedTurn(fair, over.signal);
    let result = "waits";
    turn.begun.then(
      () => (result = "begun"),
      (error: Error) => (result = error.message),
    );
    return { turn, result: () => result };
  };
  await ask("a", "a1");
  const first = share();
  const leaveA = first.turn.join("a");
  await turns(2);
  t.equal(first.result(), "waits");
  const end1 = first.turn.join("b");
  await turns(2);
  t.equal(first.result(), "begun", "by the turn of b");
  await ask("a", "a2");
  await end("a1");
  t.same(begun, ["a1", "a2"], "the turn of a for it waits no longer");
  leaveA();
  end1();

  const second = share();
  second.turn.join("a");
  await clock.advance(500);
  const leaveB = second.turn.join("b");
  await clock.advance(500);
  t.equal(second.result(), "waits", "a was refused, b waits");
  leaveB();
  await turns(2);
  t.equal(second.result(), "full");

  const third = share();
  third.turn.join("a");
  over.abort(new Error("over"));
  await turns(2);
  t.equal(third.result(), "over");
  t.same(refused, []);
  t.equal(clock.pending(), 0);
});

t.test("where the queue is full, an owner with few waiting takes the place of the one with most", async (t) => {
  const { begun, refused, ask, end } = openTurns();
  for (let at = 0; at < 8; at++) await ask("a", `a${at}`);
  t.same(refused, ["a7"], "five of one owner may wait");
  await ask("b", "b0");
  t.same(refused, ["a7"]);
  await ask("c", "c0");
  t.same(refused, ["a7", "a6"], "the last of who has most");
  for (const name of ["a0", "a1", "b0"]) await end(name);
  t.same(begun.slice(2).toSorted(), ["a2", "b0", "c0"]);
});

t.test("a place is given back by who leaves, and by who waited for too long", async (t) => {
  const { clock, begun, refused, ask, end } = openTurns();
  const left = new AbortController();
  await ask("a", "a0");
  await ask("a", "a1");
  await ask("a", "a2", left.signal);
  await ask("a", "a3");
  left.abort(new Error("left"));
  await turns(1);
  t.same(refused, ["a2"]);
  await clock.advance(1_000);
  t.same(refused, ["a2", "a3"]);
  t.equal(clock.pending(), 0);
  await end("a0");
  await end("a1");
  await ask("b", "b0");
  t.same(begun, ["a0", "a1", "b0"]);
  left.abort();
  await ask("b", "b1", left.signal);
  t.same(refused.at(-1), "b1", "who has left already does not begin");
});

t.test("a look-up does not join a query whose callers have all left", async (t) => {
  const queries: (readonly string[])[] = [];
  const lookUp = createJoinedLookups<string>(10, (keys) => {
    queries.push(keys);
    return Promise.resolve(keys.map((key) => `found ${key}`));
  });
  const client = new AbortController();
  const first = lookUp("a", client.signal);
  client.abort(new Error("left"));
  await t.rejects(first, { message: "left" });
  // Still in the same turn of the event loop.
  t.equal(await lookUp("b", NEVER), "found b");
  t.same(queries, [["b"]]);
});
