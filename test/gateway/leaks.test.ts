import { connect } from "node:net";
import t from "tap";
import { READ_MODES } from "../../gateway/connections/open-connections.ts";
import { faultsOf, SOAKS, soak } from "../soak/soak.ts";
import { get, ID, openRawContainer, openStand, PATH } from "./stand.ts";
import { eventually } from "../fixtures/eventually.ts";

/** For each way to read; `npm run soak` plays a hundred times as many. */
const COUNT = 1_000;

const SCRIPTS = Object.values(SOAKS).flatMap(({ scripts }) => scripts);

for (const reads of READ_MODES) {
  t.test(`clients that come and go leave nothing behind in a gateway that reads by ${reads}`, async (t) => {
    const outcome = await soak(reads, { scripts: SCRIPTS, count: COUNT, warmUp: COUNT, withinMs: 30_000 });
    t.same(faultsOf(outcome, COUNT), []);
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
    t.equal(stand.watchers(ID), lines.length === 0 ? 1 : 0, "the pool watches only where it keeps something");
    client.resetAndDestroy();
  }
  await eventually("it is over", () => stand.uses.get(ID)?.streams === 0);
});
