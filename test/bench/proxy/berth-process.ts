/**
 * One gateway process: `node berth-process.ts FOLDER PORT SETTINGS`. It knows callers and containers as behind a control plane: the same
 * caches of who holds a key and of what is awake, only that control's answers come from this process.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../clock.ts";
import type { ContainerView } from "../../../gateway/directory.ts";
import { knownCallers } from "../../../gateway/feed/known-callers.ts";
import { knownContainers } from "../../../gateway/feed/known-containers.ts";
import { useReports } from "../../../gateway/feed/use-reports.ts";
import { openGateway } from "../../../gateway/open-gateway.ts";
import { openLog } from "../../../log.ts";
import { portOf, type World } from "./world.ts";

const [folder = "", port = "", settings = "{}"] = process.argv.slice(2);
const world = JSON.parse(readFileSync(join(folder, "world.json"), "utf8")) as World;
const clock = systemClock();

const holders = new Map(world.keys.map((key, index) => [key, { userId: world.ids[index] ?? "", login: `user${index}`, admin: false }]));
const containers = knownContainers();
containers.replace(
  world.ids.map((id, index): ContainerView => {
    return { id, name: `container${index}`, standing: { kind: "awake", address: { host: "127.0.0.1", port: portOf(world, index) } } };
  }),
);
const reports = useReports({ clock, send: () => Promise.resolve() });

// Which engine, and how it reads; a row whose setting this checkout does not know is left out before it comes here.
const engine = JSON.parse(settings) as object;
const gateway = openGateway({
  directory: {
    find: (id) => Promise.resolve(containers.find(id)),
    watch: (id, onChange) => containers.watch(id, onChange),
    wake: () => Promise.resolve(),
    used: (use) => reports.used(use),
    close: () => Promise.resolve(),
  },
  identity: knownCallers({ ask: (token) => Promise.resolve(holders.get(token)) }),
  apiSocket: join(folder, "no-api.sock"),
  origins: [],
  clock,
  log: openLog({ level: "warn", name: "bench" }),
  ...engine,
});
gateway.server.listen(Number(port), "127.0.0.1", 4_096);
process.once("SIGTERM", () => process.exit(0));
