import t from "tap";
import { openJudge } from "../judge.ts";
import { ATTACK_SERIES, sampled } from "./run-attacks.ts";

// `npm run fuzz` plays all of them, from another seed.
const SEED = Number(process.env["FUZZ_SEED"] ?? 1);
const SAMPLE = 240;

for (const { name, all, every = 1, play } of ATTACK_SERIES) {
  t.test(name, async (t) => {
    const judge = openJudge();
    const { messages, failures } = await play(t, judge, SEED, sampled(all, SAMPLE / every, SEED));
    t.same(failures.slice(0, 3), []);
    t.ok(messages > SAMPLE / every / 5, `${messages} messages passed`);
    await judge.close();
  });
}
