import t from "tap";
import { createHold } from "../../../gateway/containers/hold.ts";
import { createLeases } from "../../../gateway/containers/lease.ts";
import { createOpenExchanges } from "../../../gateway/containers/open-exchanges.ts";
import type { Caller, ContainerView } from "../../../gateway/contract.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { openTestDirectory } from "../../fixtures/directory.ts";

const ID = "1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11";
const OTHER = "1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d12";
const CALLER: Caller = { token: "token", userId: "u", login: "ada", admin: false };
const at = (port: number) => ({ kind: "awake", addresses: [{ host: "127.0.0.1", port }] }) as const;

for (const isCounted of [true, false]) {
  t.test(`a target is that of the current view, ${isCounted ? "which the count of changes shows" : "which is looked up"}`, async (t) => {
    const { directory: counting, set, remove } = openTestDirectory();
    const { changes: _, ...looking } = counting;
    const directory = isCounted ? counting : looking;
    const clock = createStillClock();
    const hold = createHold({ directory, clock, limit: 10, timeoutMs: 1_000, ofUser: { ofContainer: 10, ofAll: 10 } });
    const leases = createLeases({ directory, hold, exchanges: createOpenExchanges(), clock, suspectAddressMs: 0, holdMs: 1_000 });
    const open = (until: number | undefined) => {
      const view = directory.cached(ID, CALLER) as ContainerView;
      return leases.open({ view, caller: CALLER, kind: "http", isProbe: false, until, request: { signal: new AbortController().signal } });
    };
    for (const until of [undefined, clock.monotonic() + 1_000]) {
      set(ID, at(1));
      const lease = open(until);
      t.match(lease.target(), { port: 1 });
      set(OTHER, at(9));
      t.match(lease.target(), { port: 1 }, "another container does not matter");
      set(ID, at(2));
      t.match(lease.target(), { port: 2 });
      remove(ID);
      t.match(lease.target(), { port: 1 }, "a container that is not cached keeps the view of the decision");
      lease.release();
    }
  });
}
