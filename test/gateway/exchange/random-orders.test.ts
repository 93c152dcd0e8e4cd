import t from "tap";
import { SOCKET_KINDS } from "../../fixtures/connections.ts";
import { playOrders } from "./random-orders/play-orders.ts";
import { missingRows, recordRows } from "./random-orders/rows.ts";

/** `npm run model` plays others, and more. */
const { MODEL_RUNS = "100", MODEL_SEED = "1" } = process.env;
const seed = Number(MODEL_SEED);

/** So many clients take seldom rows too. */
const LONG_RUNS = 3_000;

const KINDS = [...SOCKET_KINDS.map((sockets) => ({ sockets, secured: false })), { sockets: "node" as const, secured: true }];

/** They strike while a client or a container rests. */
const SHORT_LIMITS = {
  proxyRequestTimeoutMs: 60,
  headersTimeoutMs: 200,
  idleTimeoutMs: 40,
  bodyTimeoutMs: 30,
  totalTimeoutMs: 150,
  keepAliveTimeoutMs: 100,
  lingeringCloseMs: 50,
};

const takenRows = recordRows();
for (const { sockets, secured } of KINDS) {
  for (const limits of [undefined, SHORT_LIMITS]) {
    const count = Math.ceil(Number(MODEL_RUNS) / (limits === undefined ? 1 : 3));
    const where = `on sockets of ${sockets}${secured ? " over TLS" : ""}${limits === undefined ? "" : ", with short time limits"}`;
    t.test(`whatever clients and containers do, each request has its own answer or a cut, ${where}`, async (t) => {
      const { problems, answers, cuts } = await playOrders(t, { sockets, secured, seed, count, limits });
      t.same(problems.slice(0, 3), []);
      t.ok(answers > count / 4, `${answers} answers, ${cuts} cuts`);
    });
  }
}

t.test("every row is taken that random clients and containers can take", async (t) => {
  t.same(missingRows(takenRows(), Number(MODEL_RUNS) >= LONG_RUNS), []);
});
