import { createHash, randomBytes, randomInt } from "node:crypto";
import { Agent as PlainAgent, request as askPlainly } from "node:http";
import { Agent as SecureAgent, request as askSecurely } from "node:https";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import t, { type Test } from "tap";
import WebSocket, { WebSocketServer } from "ws";
import { systemClock } from "../../lib/clock.ts";
import { openTlsKeys } from "../../gateway/tls-keys.ts";
import { openLog } from "../../lib/log.ts";
import { makeCertificate } from "../fixtures/certificates.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { ID, openContainer, openStand, PATH, type GatewayFixture } from "./stand.ts";
import { eventually } from "../fixtures/eventually.ts";

const made = tempFolder(t);
const PAIR = makeCertificate(made, "edge");
const SOME = randomBytes(4_100_000);
/** What all links share, to read long bodies into, and may keep. */
const SHARED = 16 * 524_288;
const digest = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

function tlsKeys(t: Test) {
  const keys = openTlsKeys({
    files: { cert: `${made}/edge.made.crt`, key: `${made}/edge.made.key` },
    clock: systemClock(),
    log: openLog({ level: "silent", name: "test" }),
  });
  t.teardown(() => keys.close());
  return keys;
}

/** A piece of random bytes of any length: mostly short, now and then longer than any buffer. */
function body(): Buffer {
  const length = randomInt(4 * 10 ** randomInt(1, 7));
  const from = randomInt(SOME.length - length);
  return SOME.subarray(from, from + length);
}

/** Sends a body to a container that sends it back, and reads that now fast, now slowly. */
function echoed(stand: GatewayFixture, agent: PlainAgent | SecureAgent, sent: Buffer): Promise<Buffer> {
  const ask = agent instanceof SecureAgent ? askSecurely : askPlainly;
  return new Promise((resolve, reject) => {
    const outgoing = ask(
      { port: stand.port, host: "127.0.0.1", path: PATH, method: "POST", agent, headers: { authorization: "token" } },
      (answer) => {
        const came: Buffer[] = [];
        answer.on("data", (piece: Buffer) => {
          came.push(piece);
          if (randomInt(20) > 0) return;
          answer.pause();
          setTimeout(() => answer.resume(), randomInt(5));
        });
        answer.once("end", () => resolve(Buffer.concat(came))).once("error", reject);
      },
    );
    outgoing.once("error", reject);
    for (let at = 0; at < sent.length;) {
      const to = Math.min(sent.length, at + 1 + randomInt(200_000));
      outgoing.write(sent.subarray(at, to));
      at = to;
    }
    outgoing.end();
  });
}

for (const secure of [false, true]) {
  t.test(`${secure ? "TLS" : "plain"}: of many bodies at once every byte comes through`, async (t) => {
    const stand = await openStand(t, { ...(secure && { tls: tlsKeys(t) }) });
    const { address } = await openContainer(t, (incoming, answer) => void incoming.pipe(answer));
    stand.set(ID, { kind: "awake", address });
    const agent = secure ? new SecureAgent({ keepAlive: true, ca: PAIR.cert, servername: "localhost" }) : new PlainAgent({ keepAlive: true });
    t.teardown(() => agent.destroy());
    const wrong: number[] = [];
    const client = async () => {
      for (let n = 0; n < 40; n++) {
        const sent = body();
        if (digest(await echoed(stand, agent, sent)) !== digest(sent)) wrong.push(sent.length);
      }
    };
    await Promise.all(Array.from({ length: 12 }, client));
    t.same(wrong, []);
  });
}

t.test("of messages of any length every byte comes through, and idle connections hold no memory for them", async (t) => {
  const stand = await openStand(t);
  const { address, server } = await openContainer(t, (_, response) => void response.end());
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => void socket.on("message", (message: Buffer) => socket.send(message)));
  stand.set(ID, { kind: "awake", address });
  const COUNT = 60;
  const clients = await Promise.all(
    Array.from({ length: COUNT }, async () => {
      const client = new WebSocket(`ws://127.0.0.1:${stand.port}${PATH}`, { headers: { authorization: "token" } });
      await new Promise((resolve, reject) => client.once("open", resolve).once("error", reject));
      return client;
    }),
  );
  const before = heldBytes();
  let right = 0;
  for (const client of clients) {
    const sent = [body(), body(), SOME.subarray(0, 3_000_000)];
    const awaited = sent.values();
    client.on("message", (came: Buffer) => (right += came.equals(awaited.next().value ?? Buffer.alloc(0)) ? 1 : 0));
    for (const message of sent) client.send(message);
  }
  await eventually("all messages are back", () => right === COUNT * 3);
  // What a moment ago was still being written may be let go of a moment later.
  await eventually("each connection holds next to nothing", () => heldBytes() - before < SHARED + COUNT * 65_536);
  t.equal(right, COUNT * 3);
  for (const client of clients) client.terminate();
});

/** Of the memory outside the heap, what is in use. */
function heldBytes(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().arrayBuffers;
}
