/** A number of requests (`bytes` of the plan) as fast as a few connections get them answered: what a proxy costs that was just started. */
import { openClient, requestOf } from "./client.ts";
import { begin, readPlan, tell } from "./plan.ts";

const { plan, key, target } = readPlan();
const total = plan.bytes;
const end = begin(plan);
const times: number[] = [];
let started = 0;

for (let index = 0; index < plan.connections; index++) void run();

async function run(): Promise<void> {
  const client = await openClient(plan.port, 36);
  const next = () => {
    if (started >= total) return;
    const begun = performance.now();
    client.ask(requestOf(target(started), key(started)), () => {
      times.push((performance.now() - begun) * 1_000);
      if (times.length === total) tell(end(total, times));
      next();
    });
    started++;
  };
  next();
}
