import { connect } from "node:net";
import t from "tap";
import { playMixedSoak } from "../soak/mixed/mixed-soak.ts";
import { faultsOf, SOAKS, soak } from "../soak/soak.ts";
import { get, ID, openRawContainer, openStand, PATH } from "./stand.ts";
import { eventually } from "../fixtures/eventually.ts";

/** `npm run soak` plays a hundred times as many. */
const COUNT = 2_000;

const SCRIPTS = Object.values(SOAKS).flatMap(({ scripts }) => scripts);

t.test("clients that come and go leave nothing behind in a gateway", async (t) => {
  const outcome = await soak({ scripts: SCRIPTS, count: COUNT, warmUp: COUNT / 2, withinMs: 60_000 });
  t.same(faultsOf(outcome, COUNT), []);
});

for (const secured of [false, true]) {
  t.test(`random clients${secured ? " over TLS" : ""} get their own responses, and leave nothing behind`, async (t) => {
    const { faults } = await playMixedSoak({ secured, ms: 4_000, seed: 1 });
    t.same(faults, []);
  });
}

t.test("a pooled connection that became a WebSocket is not in the pool afterwards", async (t) => {
  const stand = await openStand(t);
  const address = await openRawContainer(t, (socket) =>
    socket.on("data", (bytes: Buffer) => {
      const upgrade = bytes.toString().includes("websocket");
      socket.write(
        upgrade
          ? "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
          : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
      );
    }),
  );
  stand.set(ID, { kind: "awake", address });
  for (const lines of [[], ["Connection: Upgrade", "Upgrade: websocket"]]) {
    const client = connect(stand.port, "127.0.0.1", () => client.write(get(PATH, lines).replace("Connection: close\r\n", "")));
    await new Promise((resolve) => client.once("data", resolve));
    t.equal(stand.watchers(ID), 1, lines.length === 0 ? "the pool, which keeps the connection" : "the WebSocket for its stop, and no pool");
    client.resetAndDestroy();
  }
  await eventually("it is over", () => stand.uses.get(ID)?.streams === 0);
  t.equal(stand.watchers(ID), 0);
});
