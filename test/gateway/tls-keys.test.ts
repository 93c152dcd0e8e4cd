import { mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { once } from "node:events";
import { connect as connectPlainly } from "node:net";
import { createSecureContext, connect, type TLSSocket } from "node:tls";
import { join } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { openLog } from "../../lib/log.ts";
import { ENGINE_NAMES } from "../../gateway/connections/engine.ts";
import { openTlsKeys, type TlsKeys } from "../../gateway/tls-keys.ts";
import { makeCertificate, SHORT, type Certificate } from "../fixtures/certificates.ts";
import { createStillClock } from "../fixtures/clock.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { bodyOf, echoHead, ID, openContainer, openStand, PATH } from "./stand.ts";
import { eventually } from "../fixtures/eventually.ts";

const SILENT = openLog({ level: "silent", name: "test" });
const made = tempFolder(t);
const FIRST = makeCertificate(made, "first");
const SECOND = makeCertificate(made, "second");
const WEAK = makeCertificate(made, "weak", SHORT);
const BROKEN_CHAIN = { cert: `${SECOND.cert}-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n`, key: SECOND.key };

type Files = { cert: string; key: string };

function filesIn(t: Test, pair: Certificate): Files & { write(pair: Partial<Certificate>): void } {
  const folder = tempFolder(t);
  const files = { cert: join(folder, "edge.crt"), key: join(folder, "edge.key") };
  const write = (pair: Partial<Certificate>) => {
    if (pair.cert !== undefined) writeFileSync(files.cert, pair.cert);
    if (pair.key !== undefined) writeFileSync(files.key, pair.key);
  };
  write(pair);
  return { ...files, write };
}

function keysOf(t: Test, files: Files, log: Log = SILENT): TlsKeys {
  const keys = openTlsKeys({ files, clock: systemClock(), log });
  t.teardown(() => keys.close());
  return keys;
}

/** Whose certificate a new connection is shown. */
function shownBy(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect({ port, host: "127.0.0.1", servername: "localhost", rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.once("error", reject);
  });
}

function get(port: number, agent: Agent): Promise<{ status: number | undefined; body: string; by: string }> {
  return new Promise((resolve, reject) => {
    const sent = request({ port, host: "127.0.0.1", path: PATH, agent, headers: { authorization: "token", host: "stand.example" } }, (answer) => {
      const by = String((answer.socket as TLSSocket).getPeerCertificate().subject?.CN);
      void bodyOf(answer).then((body) => resolve({ status: answer.statusCode, body: body.toString(), by }), reject);
    });
    sent.once("error", reject).end();
  });
}

for (const forwarder of ENGINE_NAMES) {
  t.test(`${forwarder}: the edge speaks TLS; a new certificate is for new connections, old ones live on`, async (t) => {
    const files = filesIn(t, FIRST);
    const stand = await openStand(t, { tls: keysOf(t, files), forwarder });
    const { address } = await openContainer(t, echoHead);
    stand.set(ID, { kind: "awake", address });
    const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: FIRST.cert, servername: "localhost" });
    t.teardown(() => agent.destroy());
    const first = await get(stand.port, agent);
    t.equal(first.status, 200);
    t.equal(first.by, "first");
    t.match((JSON.parse(first.body) as { rawHeaders: string[] }).rawHeaders.join("\n"), "X-Forwarded-Proto\nhttps");

    files.write(SECOND);
    let shown = "";
    await eventually("a new connection to be shown the new certificate", () => {
      void shownBy(stand.port).then((by) => (shown = by));
      return shown === "second";
    });
    const still = await get(stand.port, agent);
    t.equal(still.status, 200, "the connection that was open still carries requests");
    t.equal(still.by, "first");
  });

  t.test(`${forwarder}: connections of one address count from the first byte of their handshake on`, async (t) => {
    const stand = await openStand(t, { tls: keysOf(t, filesIn(t, FIRST)), forwarder, limits: { connectionsPerAddress: 5 } });
    const silent = Array.from({ length: 10 }, () =>
      connectPlainly(stand.port, "127.0.0.1")
        .on("error", () => undefined)
        .resume(),
    );
    t.teardown(() => silent.forEach((socket) => socket.destroy()));
    await eventually("five are refused", () => silent.filter(({ closed }) => closed).length === 5);
    await t.rejects(shownBy(stand.port));
    for (const socket of silent) socket.destroy();
    let shown = "";
    await eventually("their places to be given back", () => {
      shownBy(stand.port).then(
        (by) => (shown = by),
        () => undefined,
      );
      return shown === "first";
    });
  });

  t.test(`${forwarder}: bytes that are no TLS, and a client that hangs up, harm no other client`, async (t) => {
    const stand = await openStand(t, { tls: keysOf(t, filesIn(t, FIRST)), forwarder });
    await t.rejects(fetch(`http://127.0.0.1:${stand.port}/`));
    t.equal(await shownBy(stand.port), "first");
    const silent = connectPlainly(stand.port, "127.0.0.1");
    t.teardown(() => silent.destroy());
    await once(silent, "connect");
    await stand.gateway.close();
    await once(silent, "close");
  });
}

t.test("a pair of which only half is written yet is passed over; once it is whole it counts", async (t) => {
  const files = filesIn(t, FIRST);
  const warned: string[] = [];
  const keys = keysOf(t, files, { ...SILENT, warn: (fields, sentence) => void ("err" in fields && warned.push(sentence)) });
  let changes = 0;
  keys.onChange(() => changes++);
  files.write({ cert: SECOND.cert });
  await eventually("the half to be noticed", () => warned.length > 0);
  t.equal(keys.current().cert, FIRST.cert);
  keys.reload();
  t.equal(warned.length, 1, "the same complaint is made once");
  files.write({ key: SECOND.key });
  await eventually("the pair to be taken", () => keys.current().cert === SECOND.cert);
  t.equal(keys.current().key, SECOND.key);
  t.equal(changes, 1);
  keys.reload();
  t.equal(changes, 1, "the same files are no change");
});

for (const forwarder of ENGINE_NAMES) {
  t.test(`${forwarder}: who connected and says nothing does not keep a draining edge from its end`, async (t) => {
    const stand = await openStand(t, { tls: keysOf(t, filesIn(t, FIRST)), forwarder });
    const silent = connectPlainly(stand.port, "127.0.0.1");
    const late = connectPlainly(stand.port, "127.0.0.1");
    await Promise.all([once(silent, "connect"), once(late, "connect")]);
    // Who comes after them is accepted after them.
    await shownBy(stand.port);
    const LONG_MS = 60_000;
    const drained = stand.gateway.drain(LONG_MS).then(() => "drained");
    const ends = Promise.all([silent, late].map((socket) => once(socket.resume(), "close")));
    const agreed = connect({ socket: late, servername: "localhost", rejectUnauthorized: false });
    await once(agreed, "secureConnect");
    t.equal(await Promise.race([drained, new Promise((resolve) => setTimeout(resolve, LONG_MS / 6, "waited for").unref())]), "drained");
    await ends;
  });
}

for (const [what, pair] of [
  ["a chain that is broken", BROKEN_CHAIN],
  ["a key that is too short", WEAK],
] as const) {
  t.test(`${what} is not taken, and the edge goes on with what it has`, async (t) => {
    const files = filesIn(t, FIRST);
    const warned: string[] = [];
    const keys = keysOf(t, files, { ...SILENT, warn: (fields) => void ("err" in fields && warned.push(String(fields.err))) });
    const stand = await openStand(t, { tls: keys });
    files.write(pair);
    await eventually("it to be noticed", () => warned.length > 0);
    keys.reload();
    t.match(warned[0], /edge\.crt is not a certificate, with its chain, that TLS accepts/);
    t.equal(await shownBy(stand.port), "first");
    t.throws(() => openTlsKeys({ files, clock: systemClock(), log: SILENT }), { code: "SETTINGS_INVALID" });
    files.write(SECOND);
    await eventually("a good pair to be taken", () => keys.current().cert === SECOND.cert);
    t.equal(await shownBy(stand.port), "second");
  });
}

t.test("a folder that a link leads to, and that is exchanged as a whole, is followed", async (t) => {
  const folder = tempFolder(t);
  for (const [name, pair] of [
    ["one", FIRST],
    ["two", SECOND],
  ] as const) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, "tls.crt"), pair.cert);
    writeFileSync(join(folder, name, "tls.key"), pair.key);
  }
  symlinkSync("one", join(folder, "..data"));
  for (const name of ["tls.crt", "tls.key"]) symlinkSync(join("..data", name), join(folder, name));
  const keys = keysOf(t, { cert: join(folder, "tls.crt"), key: join(folder, "tls.key") });
  t.equal(keys.current().cert, FIRST.cert);
  symlinkSync("two", join(folder, "..new"));
  renameSync(join(folder, "..new"), join(folder, "..data"));
  await eventually("the other folder's to be taken", () => keys.current().cert === SECOND.cert);
});

t.test("where nothing tells of a change, it is found within a minute", async (t) => {
  const clock = createStillClock(Date.now());
  const files = filesIn(t, FIRST);
  const keys = openTlsKeys({ files, clock, log: SILENT });
  t.teardown(() => keys.close());
  await clock.advance(59_000);
  files.write(SECOND);
  t.equal(keys.current().cert, FIRST.cert);
  await clock.advance(1_000);
  t.equal(keys.current().cert, SECOND.cert);
});

t.test("what cannot be used is refused at the start, and none of it is shown", async (t) => {
  const files = filesIn(t, FIRST);
  const other = filesIn(t, SECOND);
  const text = filesIn(t, { cert: "hello", key: "secret" });
  for (const [what, pair] of [
    ["no such file", { cert: join(made, "none.crt"), key: files.key }],
    ["a folder", { cert: files.cert, key: made }],
    ["the key of another", { cert: files.cert, key: other.key }],
    ["no certificate", { cert: text.cert, key: files.key }],
    ["no key", { cert: files.cert, key: text.key }],
    ["exchanged", { cert: files.key, key: files.cert }],
  ] as const) {
    try {
      openTlsKeys({ files: pair, clock: systemClock(), log: SILENT }).close();
      t.fail(what);
    } catch (error) {
      t.match(error, { code: "SETTINGS_INVALID" }, what);
      t.notMatch((error as Error).message + String((error as Error).cause), /secret|BEGIN/);
    }
  }
});

t.test("one that has expired, or will soon, is taken and warned of", async (t) => {
  const day = 24 * 3_600_000;
  const asOf = (now: number) => {
    const warned: object[] = [];
    const log = { ...SILENT, warn: (fields: object) => void warned.push(fields) };
    const keys = openTlsKeys({ files: filesIn(t, FIRST), clock: createStillClock(now), log });
    t.ok(createSecureContext(keys.current()));
    keys.close();
    return warned.length;
  };
  t.equal(asOf(Date.now() + 2 * day), 1, "expired");
  t.equal(asOf(Date.now()), 1, "within a week");
  t.equal(asOf(Date.now() - 30 * day), 1, "not yet valid");
});
