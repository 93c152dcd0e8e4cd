import { createServer } from "node:http";
import { connect, type AddressInfo } from "node:net";
import t, { type Test } from "tap";
import { ID, listen, openStand, PATH } from "./stand.ts";

const SIGNED_IN = { headers: { authorization: "token" } };

/** A port that refuses now, and a server that may take it later. */
async function refusing(t: Test) {
  const probe = createServer();
  await new Promise<void>((resolve) => void probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => void probe.close(resolve));
  const accept = () => listen(t, createServer((_, response) => void response.end("back")), { port }); // prettier-ignore
  return { address: { host: "127.0.0.1", port }, accept };
}

t.test("a refused request waits for what control finds, and succeeds where the same address accepts again", async (t) => {
  const stand = await openStand(t, { limits: { doubtMs: 2_000 } });
  const { address, accept } = await refusing(t);
  stand.set(ID, { kind: "awake", address });
  stand.onWake(async () => {
    stand.set(ID, { kind: "awake", address, doubted: true });
    await accept();
    stand.set(ID, { kind: "awake", address });
  });
  t.equal(await (await fetch(stand.base + PATH, SIGNED_IN)).text(), "back");
  t.equal(stand.wakes.length, 1);
});

t.test("one that meets a doubt already has the same way out", async (t) => {
  const stand = await openStand(t, { limits: { doubtMs: 2_000 } });
  const { address, accept } = await refusing(t);
  stand.set(ID, { kind: "awake", address, doubted: true });
  stand.onWake(async () => {
    await accept();
    stand.set(ID, { kind: "awake", address });
  });
  t.equal(await (await fetch(stand.base + PATH, SIGNED_IN)).text(), "back");
});

t.test("a lost container is held for until it is there again, somewhere else", async (t) => {
  const stand = await openStand(t, { limits: { doubtMs: 2_000 } });
  const { address } = await refusing(t);
  const elsewhere = await listen(t, createServer((_, response) => void response.end("elsewhere"))); // prettier-ignore
  stand.set(ID, { kind: "awake", address });
  stand.onWake(() => {
    stand.set(ID, { kind: "awake", address, doubted: true });
    stand.set(ID, { kind: "coming" });
    setImmediate(() => stand.set(ID, { kind: "awake", address: elsewhere }));
  });
  t.equal(await (await fetch(stand.base + PATH, SIGNED_IN)).text(), "elsewhere");
});

t.test("a doubt that lasts is a 502, not a wait for ever", async (t) => {
  const stand = await openStand(t, { limits: { doubtMs: 50 } });
  const { address } = await refusing(t);
  await t.rejects(new Promise((resolve, reject) => connect(address.port).once("connect", resolve).once("error", reject)));
  stand.set(ID, { kind: "awake", address });
  stand.onWake(() => stand.set(ID, { kind: "awake", address, doubted: true }));
  t.equal((await fetch(stand.base + PATH, SIGNED_IN)).status, 502);
});
