import { createServer } from "node:http";
import { connect } from "node:net";
import t, { type Test } from "tap";
import { openFullQueue } from "../full-queue.ts";
import { exchange, ID, openStand, PATH } from "../stand.ts";
import { freePort, listen } from "../../fixtures/server.ts";
import { eventually } from "../../fixtures/eventually.ts";

const SIGNED_IN = { headers: { authorization: "token" } };

const CHECKED = { kind: "coming", step: "check" } as const;

/** A port that refuses now, and a server that may take it later. */
async function refusing(t: Test) {
  const port = await freePort();
  const accept = () => listen(t, createServer((_, response) => void response.end("back")), { port }); // prettier-ignore
  return { address: { host: "127.0.0.1", port }, accept };
}

t.test("a refused request waits for what control finds, and succeeds where the same address accepts again", async (t) => {
  const stand = await openStand(t, { limits: { suspectAddressMs: 2_000 } });
  const { address, accept } = await refusing(t);
  stand.set(ID, { kind: "awake", address });
  stand.onWake(async () => {
    stand.set(ID, CHECKED);
    await accept();
    stand.set(ID, { kind: "awake", address });
  });
  t.equal(await (await fetch(stand.base + PATH, SIGNED_IN)).text(), "back");
  t.equal(stand.wakes.length, 1);
});

t.test("a request for a container whose address is checked waits, and is sent nowhere before", async (t) => {
  const stand = await openStand(t);
  const requests: string[] = [];
  const address = await listen(t, createServer((_, response) => (requests.push("request"), void response.end("back")))); // prettier-ignore
  stand.set(ID, { kind: "awake", address });
  t.equal(await (await fetch(stand.base + PATH, SIGNED_IN)).text(), "back");
  requests.length = 0;
  stand.set(ID, CHECKED);
  const answer = fetch(stand.base + PATH, SIGNED_IN);
  await eventually("it waits", () => stand.watchers(ID) > 0);
  t.same(requests, []);
  t.same(stand.wakes, [], "it is looked at already");
  stand.set(ID, { kind: "awake", address });
  t.equal(await (await answer).text(), "back");
});

t.test("a lost container is held for until it is there again, somewhere else", async (t) => {
  const stand = await openStand(t, { limits: { suspectAddressMs: 2_000 } });
  const { address } = await refusing(t);
  const elsewhere = await listen(t, createServer((_, response) => void response.end("elsewhere"))); // prettier-ignore
  stand.set(ID, { kind: "awake", address });
  stand.onWake(() => {
    stand.set(ID, CHECKED);
    stand.set(ID, { kind: "coming" });
    setImmediate(() => stand.set(ID, { kind: "awake", address: elsewhere }));
  });
  t.equal(await (await fetch(stand.base + PATH, SIGNED_IN)).text(), "elsewhere");
});

t.test("a lost container that is there again in the very next line of control's feed is not waited for", async (t) => {
  const stand = await openStand(t, { limits: { suspectAddressMs: 2_000, proxyRequestTimeoutMs: 10_000 } });
  const { address } = await refusing(t);
  const elsewhere = await listen(t, createServer((_, response) => void response.end("elsewhere"))); // prettier-ignore
  stand.set(ID, { kind: "awake", address });
  // As where the feed was not read for a moment: both lines come in one chunk.
  stand.onWake(() => {
    stand.set(ID, CHECKED);
    stand.set(ID, { kind: "awake", address: elsewhere });
  });
  t.equal(await (await fetch(stand.base + PATH, SIGNED_IN)).text(), "elsewhere");
});

t.test("a refusal that is never checked is a 502, not a wait for ever", async (t) => {
  const stand = await openStand(t, { limits: { suspectAddressMs: 50 } });
  const { address } = await refusing(t);
  await t.rejects(new Promise((resolve, reject) => connect(address.port).once("connect", resolve).once("error", reject)));
  stand.set(ID, { kind: "awake", address });
  t.equal((await fetch(stand.base + PATH, SIGNED_IN)).status, 502);
  t.equal(stand.wakes.length, 1);
});

t.test("a connection that is never accepted is given up as soon as the container is known to be gone", async (t) => {
  const stand = await openStand(t, { limits: { connectTimeoutMs: 30_000, suspectAddressMs: 2_000, upstreamIdleMs: 50 } });
  const elsewhere = await listen(
    t,
    createServer((_, response) => void response.end("elsewhere")).on("upgrade", (_, socket) => socket.end("HTTP/1.1 418 Teapot\r\n\r\n")),
  );
  const address = await openFullQueue(t);
  const upgrade = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==" };
  const requests = {
    plain: () => fetch(stand.base + PATH, SIGNED_IN).then((answer) => answer.text()),
    upgraded: () => {
      const lines = Object.entries(upgrade).map(([name, value]) => `${name}: ${value}`);
      return exchange(stand.port, ["GET " + PATH + " HTTP/1.1", "Host: x", "Authorization: token", ...lines, "", ""].join("\r\n"));
    },
  };
  for (const [kind, ask] of Object.entries(requests)) {
    stand.set(ID, { kind: "awake", address });
    const answer = ask();
    // The decision, and then the connect itself.
    await eventually("it watches what it dials", () => stand.watchers(ID) > 0);
    stand.set(ID, { kind: "coming" });
    await eventually("it waits", () => stand.watchers(ID) > 0);
    stand.set(ID, { kind: "awake", address: elsewhere });
    t.match(await answer, /elsewhere|Teapot/, kind);
    await eventually("nothing is left of it", () => stand.watchers(ID) === 0);
  }
});

t.test("a target that is removed while it is dialled again and again is waited for each time", async (t) => {
  const stand = await openStand(t, { limits: { connectTimeoutMs: 30_000 } });
  const elsewhere = await listen(t, createServer((_, response) => void response.end("elsewhere"))); // prettier-ignore
  const address = await openFullQueue(t);
  stand.set(ID, { kind: "awake", address });
  const answer = fetch(stand.base + PATH, SIGNED_IN);
  for (let time = 0; time < 4; time++) {
    await eventually("it dials", () => stand.watchers(ID) > 0);
    stand.set(ID, CHECKED);
    await eventually("it waits", () => stand.watchers(ID) > 0);
    stand.set(ID, { kind: "awake", address });
  }
  await eventually("it dials", () => stand.watchers(ID) > 0);
  stand.set(ID, CHECKED);
  await eventually("it waits", () => stand.watchers(ID) > 0);
  stand.set(ID, { kind: "awake", address: elsewhere });
  t.equal(await (await answer).text(), "elsewhere");
});

t.test("of several addresses each has its turn, and one that refuses is passed over", async (t) => {
  const stand = await openStand(t);
  const { address: refused } = await refusing(t);
  const [one, other] = await Promise.all(
    ["one", "other"].map((name) => listen(t, createServer((_, response) => void response.end(name)))), // prettier-ignore
  );
  stand.set(ID, { kind: "awake", addresses: [one, other] as never });
  const ask = async () => (await fetch(stand.base + PATH, SIGNED_IN)).text();
  t.same(new Set([await ask(), await ask()]), new Set(["one", "other"]));
  stand.set(ID, { kind: "awake", addresses: [refused, other] as never });
  t.same([await ask(), await ask()], ["other", "other"]);
});

t.test("the loss of one of several addresses moves only the requests that connect there", async (t) => {
  const stand = await openStand(t, { limits: { connectTimeoutMs: 30_000 } });
  const requests: string[] = [];
  let finish = () => {};
  const other = await listen(
    t,
    createServer((request, response) => {
      requests.push(request.url ?? "");
      response.write("begun ");
      finish = () => response.end("other");
      if (requests.length > 1) finish();
    }),
  );
  const lost = await openFullQueue(t);
  stand.set(ID, { kind: "awake", addresses: [lost, other] });
  const answers = [0, 1].map(async () => (await fetch(stand.base + PATH, SIGNED_IN)).text());
  await eventually("one streams, the other one dials", () => requests.length === 1 && stand.watchers(ID) > 0);
  const finishFirst = finish;
  stand.set(ID, { kind: "awake", addresses: [other] });
  await eventually("it dials the remaining one", () => requests.length === 2);
  finishFirst();
  t.same(await Promise.all(answers), ["begun other", "begun other"]);
  t.same(stand.wakes, [], "and nothing is checked for it");
});

t.test("several addresses are used equally", async (t) => {
  const stand = await openStand(t);
  const counts = new Map<string, number>();
  const addresses = await Promise.all(
    ["one", "two", "three"].map(
      (name) =>
      listen(t, createServer((_, response) => (counts.set(name, (counts.get(name) ?? 0) + 1), void response.end(name)))), // prettier-ignore
    ),
  );
  stand.set(ID, { kind: "awake", addresses });
  for (let nth = 0; nth < 12; nth++) await (await fetch(stand.base + PATH, SIGNED_IN)).text();
  t.same([...counts.values()], [4, 4, 4]);
});

t.test("the answer about a container that refuses names its port, and not where it is", async (t) => {
  const stand = await openStand(t);
  const { address } = await refusing(t);
  stand.set(ID, { kind: "awake", address });
  const answer = await fetch(stand.base + PATH, SIGNED_IN);
  t.equal(answer.status, 502);
  const body = await answer.text();
  t.ok(body.includes(`port ${address.port}`), body);
  t.notOk(body.includes(address.host), body);
});
