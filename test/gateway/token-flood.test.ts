import { connect } from "node:net";
import t from "tap";
import { systemClock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Identity } from "../../gateway/contract.ts";
import { openCallerCache } from "../../gateway/feed/caller-cache.ts";
import { WRONG_TOKENS } from "../../gateway/feed/wrong-tokens.ts";
import { ADA } from "../fixtures/directory.ts";
import { exchange, get, ID, openContainer, openStand, PATH } from "./stand.ts";
import { eventually } from "../fixtures/eventually.ts";
import { pause } from "../fixtures/clock.ts";

/** What each question to the control plane takes here. */
const ASK_MS = 25;
const CONNECTIONS = 600;

t.test("invented tokens from other addresses do not keep a fresh session out", async (t) => {
  const lookUps = { good: 0, bad: 0 };
  /** Questions of the flood that were answered before the session's. */
  let between: number | undefined;
  const identity = openCallerCache({
    clock: systemClock(),
    closed: new AbortController().signal,
    // Turns alone are tested here: no client is refused.
    wrongTokens: { ...WRONG_TOKENS, burst: Number.POSITIVE_INFINITY },
    full: () => new Fault("CONTROL_AWAY", "full"),
    findCallers: async (tokens) => {
      await pause(ASK_MS);
      const isGood = tokens.every((token) => token === "token");
      if (isGood) between ??= lookUps.bad - before;
      lookUps[isGood ? "good" : "bad"]++;
      return tokens.map(() => (isGood ? ADA : undefined));
    },
  });
  /** Of the flood, when the session's question comes: its connection may have taken long, on a busy machine. */
  let before = 0;
  const find: Identity["find"] = (token, ...more) => {
    if (token === "token") before = lookUps.bad;
    return identity.find(token, ...more);
  };
  const stand = await openStand(t, { identity: { ...identity, find } });
  t.teardown(() => identity.close());
  const { address } = await openContainer(t, (_, response) => void response.end("here"));
  stand.set(ID, { kind: "awake", address });

  let sent = 0;
  const request = () => {
    const cookies = Array.from({ length: 1_500 }, (_, at) => `auth=${sent}-${at}`).join(";");
    sent++;
    return `GET ${PATH} HTTP/1.1\r\nHost: x\r\nCookie: ${cookies}\r\n\r\n`;
  };
  const flood = Array.from({ length: CONNECTIONS }, (_, at) => {
    const socket = connect({ port: stand.port, host: "127.0.0.1", localAddress: `127.0.0.${2 + (at % 3)}` }, () => socket.write(request()));
    // Each asks again as soon as it is answered.
    socket.on("data", () => socket.write(request()));
    socket.on("error", () => undefined);
    return socket;
  });
  t.teardown(() => flood.forEach((socket) => socket.destroy()));
  await eventually("the flood is there", () => sent > CONNECTIONS && lookUps.bad > 50);
  t.match(await exchange(stand.port, get(PATH)), /^HTTP\/1\.1 200 /);
  // Hundreds wait: in the order in which they came, the session would be behind all of them. Counted, since this machine may be busy.
  t.ok((between ?? CONNECTIONS) < CONNECTIONS / 2, `${between} questions of the flood were before it`);
  t.equal(lookUps.good, 1);
  t.ok(sent - CONNECTIONS < lookUps.bad, "a request is four questions, and none is answered before");
});
