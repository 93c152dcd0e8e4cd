import t from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { conformance } from "../../drivers/conformance.ts";
import { BACKENDS } from "../../drivers/conformance/backends.ts";
import { MEMORY_APPS } from "../../fixtures/memory-apps.ts";
import { openMemoryWorld } from "../../fixtures/memory-driver.ts";

t.test("the memory driver keeps the contract that it stands in for", async (t) => {
  const world = openMemoryWorld(systemClock());
  for (const [name, app] of Object.entries(MEMORY_APPS)) world.apps.set(name, app);
  t.teardown(() => world.close());
  await conformance(t, {
    open: world.open,
    image: async (name) => ({ ref: name }),
    unknown: async () => ({ ref: "unknown" }),
    kill: (service) => world.kill(service),
    left: async (prefix) => world.left(prefix),
    vanish: async (service) => world.vanish(service),
    move: (service) => world.moveAway(service),
    way: async () => ({
      driver: world.open(),
      cut: () => {},
      away: async () => {
        world.away = true;
      },
      back: async () => {
        world.away = false;
      },
    }),
    ...BACKENDS.memory,
  });
});
