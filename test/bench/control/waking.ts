/**
 * Control's store, lifecycle and feed as a process of its own, whose containers run in the tests' orchestrator in memory: `node waking.ts FOLDER SOCKET [DATABASE]`.
 * On a message it reports to its parent when it first sent each container to the gateways.
 */
import { systemClock } from "../../../lib/clock.ts";
import { openFeed } from "../../../control/api/feed.ts";
import { openLifecycle } from "../../../control/lifecycle/open-lifecycle.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { openLog } from "../../../lib/log.ts";
import { openMemoryWorld } from "../../fixtures/memory-driver.ts";

const [folder = "", socketPath = "", url = ""] = process.argv.slice(2);
const clock = systemClock();
const log = openLog({ level: "error", name: "waking" });
const store = await openStore({ folder, clock, postgres: url === "" ? undefined : { url, connections: 5 } });
// No port, and so no socket of each in this process.
const world = openMemoryWorld(clock, { sockets: false });
for (const { ref } of await store.images.all()) world.apps.set(ref, { exposed: [80], run: ({ listen }) => listen() });
const lifecycle = await openLifecycle({
  store,
  driver: world.open(),
  clock,
  log,
  environment: "bench",
  injectedEnv: () => ({}),
  filesFolder: folder,
});
const sentAt: Record<string, number> = {};
// Before the feed's own, and so called just before it.
lifecycle.watch((change) => {
  if ("container" in change) sentAt[change.container.id] ??= Number(process.hrtime.bigint());
});
await openFeed({ socketPath, lifecycle, store, watchSignOuts: () => () => undefined, who: async () => undefined, version: "bench", clock, log });
await lifecycle.start();
process.once("disconnect", () => process.exit(0));
process.on("message", () => process.send?.(sentAt));
process.send?.("ready");
