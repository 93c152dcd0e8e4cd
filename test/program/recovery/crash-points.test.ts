import t from "tap";
import { storeKinds, waitForStatements } from "../../fixtures/store-kinds.ts";
import { type Lived, live } from "./crash-life.ts";

/**
 * Being killed at any place and started again is normal. By default a sample of the places, the same in every run; `npm run crash`
 * takes them all, on each database; `CRASH_PLACES=17,40` these, and `CRASH_SEED=2` another sample.
 */
const SAMPLE = { SQLite: 20, PostgreSQL: 3 };
const { CRASH_PLACES: named, CRASH_SEED: seed = "1" } = process.env;
/** Longer than the life takes. */
const PAUSED_MS = 24 * 3_600_000;
if (named === "all") t.setTimeout(0);
waitForStatements();

for (const kind of storeKinds(t)) {
  /** With what sleeps ended, and with it frozen. */
  const LIVES: { pausedMs: number; whole: Lived }[] = [];
  for (const pausedMs of [0, PAUSED_MS]) LIVES.push({ pausedMs, whole: await live(undefined, pausedMs, await kind.fresh()) });

  t.test(`${kind.name}: a life without a kill comes to its end`, async (t) => {
    for (const { whole } of LIVES) {
      t.same(whole.trouble, []);
      t.ok(whole.places > 100, `${whole.places} places to die at`);
    }
    t.same(
      LIVES.map(({ whole }) => whole.starts["demo/lazy:1"]),
      [2, 1],
      "what lay frozen is not started again",
    );
  });

  for (const { whole, pausedMs, place } of chosen(LIVES, SAMPLE[kind.name])) {
    t.test(
      `${kind.name}: killed at place ${place}${pausedMs > 0 ? " of a life with frozen sleep" : ""}, all that was acknowledged comes about, once, and nothing else is left running`,
      async (t) => {
        const { diedAt, starts, trouble } = await live(place, pausedMs, await kind.fresh());
        t.type(diedAt, "string", "it was killed");
        t.same(trouble, [], `${diedAt}`);
        t.same(starts, whole.starts, `nothing is started twice: ${diedAt}`);
      },
    );
  }
}

function chosen(lives: readonly { pausedMs: number; whole: Lived }[], sample: number) {
  const all = lives.flatMap(({ whole, pausedMs }) => Array.from({ length: whole.places }, (_, index) => ({ whole, pausedMs, place: index + 1 })));
  if (named === "all") return all;
  if (named !== undefined) return all.filter(({ place }) => named.split(",").map(Number).includes(place));
  const random = randomOf(Number(seed));
  const drawn = all.map((place) => ({ place, lot: random() })).toSorted((one, other) => one.lot - other.lot);
  return drawn.slice(0, sample).map(({ place }) => place);
}

/** Mulberry32: the same numbers below 1 for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
