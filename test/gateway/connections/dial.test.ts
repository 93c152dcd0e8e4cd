import t from "tap";
import { systemClock, type Clock } from "../../../lib/clock.ts";
import { exchange, get, ID, openContainer, openStand, PATH } from "../stand.ts";

const CONNECT_MS = 50;

t.test("a gateway that is busy while a connection is made does not count the container as unreachable", async (t) => {
  const system = systemClock();
  let isBlocked = false;
  const clock: Clock = {
    ...system,
    after: (ms, task) => {
      const cancel = system.after(ms, task);
      // Within the turn in which the connect begins.
      if (ms === CONNECT_MS) process.nextTick(block);
      return cancel;
    },
  };
  const block = () => {
    isBlocked = true;
    for (const from = performance.now(); performance.now() - from < 2 * CONNECT_MS;);
  };
  const stand = await openStand(t, { clock, limits: { connectTimeoutMs: CONNECT_MS, suspectAddressMs: 1 } });
  const { address } = await openContainer(t, (_request, response) => void response.end("here"));
  stand.set(ID, { kind: "awake", address });
  t.match(await exchange(stand.port, get(PATH)), /^HTTP\/1\.1 200 /);
  t.ok(isBlocked);
});
