import type { ServerResponse } from "node:http";
import t from "tap";
import { WebSocket, WebSocketServer } from "ws";
import { addLease, type LeaseList, oldestLeases, removeLease } from "../../../gateway/containers/open-exchanges.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { bodyOf, ID, openContainer, openStand, PATH, WS_PATH } from "../stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

const SIGNED_IN = { headers: { authorization: "token" } };

t.test("a busy header of an answer is reported to control, and the client does not get it", async (t) => {
  const clock = createStillClock();
  const stand = await openStand(t, { origins: ["https://good.example"], clock });
  const values: (string | undefined)[] = ["300", "300", "7", undefined, "soon", "-1", "0"];
  const { address } = await openContainer(t, (_, response) => {
    const busy = values.shift();
    if (busy !== undefined) response.setHeader("X-Berth-Busy", busy);
    response.end("ok");
  });
  stand.set(ID, { kind: "awake", address });
  while (values.length > 0) {
    const headers = { authorization: "token", ...(values.length % 2 === 0 ? {} : { origin: "https://good.example" }) };
    const answer = await fetch(stand.base + PATH, { headers });
    t.equal(answer.headers.get("x-berth-busy"), null);
    t.notMatch(answer.headers.get("access-control-expose-headers") ?? "", /busy/i);
  }
  await clock.advance(1_000);
  t.same(
    stand.busy,
    [
      [ID, 300],
      [ID, 0],
    ],
    "once for what says the same, nothing for what is no number, and of many words within a second the newest",
  );
});

t.test("an open exchange is listed with its caller, its age and its bytes, without its target", async (t) => {
  const stand = await openStand(t);
  const waiting: ServerResponse[] = [];
  const { address, server } = await openContainer(t, async (request, response) => {
    await bodyOf(request);
    response.write("x".repeat(1_000));
    waiting.push(response);
  });
  new WebSocketServer({ server }).on("connection", (socket) => socket.on("message", (data: Buffer) => socket.send(data)));
  const before = Date.now();
  stand.set(ID, { kind: "coming" });
  const answer = fetch(`${stand.base}${PATH}/secret?key=secret`, { ...SIGNED_IN, method: "POST", body: "y".repeat(500) });
  await eventually("it is held", () => stand.openAt(ID).count === 1);
  const [held] = stand.openAt(ID).open;
  t.match(held, { kind: "http", login: "ada", state: "held", bytesOut: 0 });
  t.ok(held && held.since >= before && held.since <= Date.now());

  stand.set(ID, { kind: "awake", address });
  await eventually("it is answered", () => (stand.openAt(ID).open[0]?.bytesOut ?? 0) >= 1_000);
  t.match(stand.openAt(ID), { count: 1, open: [{ state: "streaming", since: held?.since }] });
  t.equal(stand.openAt(ID).open[0]?.bytesIn, 500);
  t.notMatch(JSON.stringify(stand.openAt(ID)), /secret|token/);

  const socket = new WebSocket(`ws://127.0.0.1:${stand.port}${WS_PATH}`, SIGNED_IN);
  const received: string[] = [];
  socket.on("message", (data: Buffer) => received.push(data.toString()));
  await eventually("it is connected", () => received.length === 1);
  socket.send("hello");
  await eventually("it is echoed", () => received.length === 2);
  const exchange = stand.openAt(ID).open[1];
  t.match(exchange, { kind: "websocket", login: "ada", state: "streaming" });
  t.ok((exchange?.bytesIn ?? 0) >= 5 && (exchange?.bytesOut ?? 0) >= 5);

  socket.close();
  for (const response of waiting) response.end();
  t.equal((await (await answer).text()).length, 1_000);
  await eventually("nothing is left", () => stand.openAt(ID).count === 0);
  t.same(stand.openAt("another"), { count: 0, open: [] });
});

t.test("what ends leaves the list as it was without it, wherever it stood in it", async (t) => {
  type Member = { name: string; before: Member | undefined; after: Member | undefined };
  for (const [ended, left] of [
    ["a", "bcd"],
    ["b", "acd"],
    ["d", "abc"],
    ["bc", "ad"],
    ["cb", "ad"],
    ["ad", "bc"],
    ["dcba", ""],
    ["abcd", ""],
  ] as const) {
    const list: LeaseList<Member> = { oldest: undefined, newest: undefined, size: 0 };
    const made = (name: string): Member => ({ name, before: undefined, after: undefined });
    const members: Record<string, Member> = { a: made("a"), b: made("b"), c: made("c"), d: made("d") };
    for (const member of Object.values(members)) addLease(list, member);
    for (const name of ended) removeLease(list, members[name] ?? made("absent"));
    addLease(list, made("e"));
    t.equal(
      oldestLeases(list, 9)
        .map(({ name }) => name)
        .join(""),
      `${left}e`,
      ended,
    );
    t.equal(list.size, left.length + 1);
    t.equal(oldestLeases(list, 1).length, 1);
  }
});
