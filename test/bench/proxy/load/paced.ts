/** So many requests a second (`bytes` of the plan), sent when they are due whether or not earlier ones were answered. */
import { openClient, requestOf, type Client } from "./client.ts";
import { begin, fail, readPlan, tell } from "./plan.ts";

const { plan, key, target } = readPlan();
const everyMs = 1_000 / plan.bytes;
const requests = Array.from({ length: 1_000 }, (_, index) => requestOf(target(index), key(index)));
/** The first ones are not counted: each caller is looked up, and each container connected to. `cold` measures that of a new process. */
const WARM_MS = requests.length * everyMs + 500;
const clients: Client[] = await Promise.all(Array.from({ length: plan.connections }, () => openClient(plan.port, 36)));
/** What came due while all connections were busy. */
type Due = { request: string; at: number; counts: boolean };
const waiting: Due[] = [];
const times: number[] = [];
const begun = performance.now();
let end: ReturnType<typeof begin> | undefined;
let sent = 0;
let counted = 0;

/** How long answers are waited for after the last request: late ones count as late, missing ones spoil the figure. */
const LATE_MS = 5_000;

const timer = setInterval(() => {
  const now = performance.now() - begun;
  if (end === undefined && now > WARM_MS) end = begin(plan);
  if (end === undefined || now < WARM_MS + plan.seconds * 1_000) {
    for (; sent * everyMs < now; sent++) send(end !== undefined);
  } else if (times.length === counted) {
    clearInterval(timer);
    tell(end(times.length, times));
  } else if (now > WARM_MS + plan.seconds * 1_000 + LATE_MS) fail(`only ${times.length} of ${counted} were answered in time`);
}, 1);

function send(counts: boolean): void {
  const one = { request: requests[sent % requests.length] ?? "", at: performance.now(), counts };
  if (counts) counted++;
  const client = clients.find(({ busy }) => !busy);
  if (client === undefined) waiting.push(one);
  else play(client, one);
}

function play(client: Client, one: Due): void {
  client.ask(one.request, () => {
    if (one.counts) times.push((performance.now() - one.at) * 1_000);
    const next = waiting.shift();
    if (next !== undefined) play(client, next);
  });
}
