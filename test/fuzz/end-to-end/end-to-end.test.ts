import t from "tap";
import { SOCKET_KINDS, testSockets } from "../../fixtures/connections.ts";
import { openJudge } from "../judge.ts";
import { ATTACK_SERIES, sampled } from "./run-attacks.ts";

// `npm run fuzz` plays all of them, from another seed.
const SEED = Number(process.env["FUZZ_SEED"] ?? 1);
const SAMPLE = { usual: 200, other: 64 };

for (const sockets of SOCKET_KINDS) {
  const sample = sockets === testSockets() ? SAMPLE.usual : SAMPLE.other;
  for (const { name, all, known = [], every = 1, play } of ATTACK_SERIES) {
    t.test(`${name}, on sockets of ${sockets}`, async (t) => {
      const judge = openJudge();
      const numbers = [...new Set([...known, ...sampled(all, sample / every, SEED)])];
      const { messages, failures } = await play(t, { judge, seed: SEED, numbers, sockets });
      t.same(failures.slice(0, 3), []);
      t.ok(messages > sample / every / 5, `${messages} messages passed`);
      await judge.close();
    });
  }
}
