import t from "tap";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { walk } from "./walk/walk.ts";

t.test("a newcomer starts berth from a fresh copy, and writes, publishes, calls, reads and removes a first package without Docker", async (t) => {
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  const steps = await walk({ folder: tempFolder(t), install: false, signal: stop.signal, onStep: ({ step, shown }) => t.pass(`${step}: ${shown}`) });
  t.equal(steps.length, 11);
  // 0 if berth has ended before npm, which got Ctrl-C as well.
  t.match(steps.at(-1), { shown: /^exit code (0|130)$/ });
});
