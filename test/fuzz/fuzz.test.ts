import t from "tap";
import { createHttp1 } from "../../gateway/http1/message-reader.ts";
import { attack, type FuzzSide } from "./attack.ts";
import { openJudge } from "./judge.ts";

// `npm run fuzz` goes on from other seeds.
const SEEDS = [1, 2];

for (const side of ["requests", "responses"] satisfies FuzzSide[]) {
  t.test(`whatever ${side} come, what is sent on is to another parser just what was decided on`, async (t) => {
    const judge = openJudge();
    const http1 = createHttp1({ underscoreHeaders: "drop" });
    for (const seed of SEEDS) {
      const { cases, refused, messages, failures } = await attack(http1, judge, side, seed);
      t.same(failures.slice(0, 5), [], `${cases} streams, ${refused} refused`);
      t.ok(messages > 100, "and many are not refused");
    }
    await judge.close();
  });
}
