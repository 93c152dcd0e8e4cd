import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import t from "tap";
import { expandRows, type Machine, type MachineTable } from "../../../gateway/exchange/state-machine.ts";
import { EXCHANGE, EXCHANGE_TABLE } from "../../../gateway/exchange/machine.ts";
import { CLIENT, CLIENT_TABLE } from "../../../gateway/exchange/client-machine.ts";
import type { RequestKind } from "./client-model.ts";
import { ModelWorld } from "./exchange-model.ts";

/** By default the same event orders in every run; `npm run model` takes others, and more. */
const { MODEL_RUNS: runs = "1000", MODEL_SEED: seed = "1" } = process.env;
const ORDERS_PER_RUN = 20;

const KIND: fc.Arbitrary<RequestKind> = fc.constantFrom(
  { body: false, websocket: false, idempotent: true },
  { body: false, websocket: false, idempotent: false },
  { body: false, websocket: true, idempotent: true },
  { body: true, websocket: false, idempotent: true },
  { body: true, websocket: false, idempotent: false },
);

t.test("whatever the order of events, each request has one answer or a cut, and nothing of another", async (t) => {
  const visited = new Set<string>();
  const property = fc.property(
    fc.array(KIND, { minLength: 1, maxLength: 8 }),
    fc.array(fc.nat(), { minLength: 60, maxLength: 160, size: "max" }),
    (kinds, picks) => {
      const world = new ModelWorld(visited, kinds);
      for (const pick of picks) world.step(pick);
      world.end();
    },
  );
  fc.assert(property, { numRuns: ORDERS_PER_RUN * Number(runs), seed: Number(seed) });
  const rows = [...expandRows(EXCHANGE_TABLE), ...expandRows(CLIENT_TABLE)].map(({ event, from }) => `${from} ${event}`);
  t.same(
    rows.filter((row) => !visited.has(row)),
    [],
    "every row of the table was taken",
  );
});

for (const [file, table, machine, { first, last }] of [
  ["exchange.ts", EXCHANGE_TABLE, EXCHANGE, { first: ["DECIDING_OPEN", "DECIDING"], last: ["UPGRADED", "OVER"] }],
  ["client-connection.ts", CLIENT_TABLE, CLIENT, { first: ["IDLE"], last: ["UPGRADED", "CLOSED"] }],
] as unknown as [string, MachineTable<string, string, string>, Machine<string, string, string>, { first: string[]; last: string[] }][]) {
  const name = file.replace(".ts", "");
  const rows = expandRows(table);
  const states = Object.keys(table.states);

  t.test(`${name}: each event has a row in every state, or a reason why it cannot come there`, async (t) => {
    for (const [event, { elsewhere }] of Object.entries(table.events)) {
      const missing = states.filter((state) => !machine.hasRow(machine.state[state] as number, machine.event[event] as number));
      t.equal(missing.length > 0, elsewhere !== undefined, `${event}: ${missing.join(", ")}`);
    }
  });

  t.test(`${name}: actions run in the order of the table`, async (t) => {
    const source = readFileSync(join(import.meta.dirname, "../../../gateway/exchange", file), "utf8");
    t.same(
      [...source.matchAll(/has\(actions, ACTION\.(\w+)\)/g)].map(([, action]) => action),
      Object.keys(table.actions),
    );
  });

  t.test(`${name}: every state is reached, and only the last ones are final`, async (t) => {
    const reached = new Set(first);
    for (const state of reached) for (const { from, to } of rows) if (from === state) reached.add(to);
    t.same([...reached].toSorted(), states.toSorted());
    const left = new Set(rows.filter(({ from, to }) => from !== to).map(({ from }) => from));
    t.same(
      states.filter((state) => !left.has(state)),
      last,
    );
  });
}

t.test("an event without a row throws, and names both", async (t) => {
  t.throws(() => EXCHANGE.next(EXCHANGE.state.OVER, EXCHANGE.event.responseCame), { message: /responseCame in OVER/ });
});
