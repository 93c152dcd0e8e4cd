import { createServer } from "node:http";
import t from "tap";
import { systemClock } from "../../../clock.ts";
import { conformance } from "../../drivers/conformance.ts";
import { type AppStart, type MemoryApp, mute, openMemoryWorld } from "../../fixtures/memory-driver.ts";

/** The conformance kit's apps, in miniature. */
const APPS: Record<string, MemoryApp> = {
  onDemand: {
    exposed: [15353],
    run: ({ env, listen }) => {
      const server = createServer((request, response) => {
        const url = new URL(request.url ?? "/", "http://app");
        response.end(JSON.stringify(url.pathname === "/env" ? env : { result: Number(url.searchParams.get("number")) ** 2 }));
      });
      setTimeout(() => listen(server), Number(env["BOOT_MS"] ?? 5));
    },
  },
  tcpOnly: { exposed: [5432], run: ({ listen }) => listen() },
  worker: { exposed: [], run: work },
  crashing: {
    exposed: [5353],
    run: ({ say, exit }) => {
      for (const line of ["reading settings", "no database", "giving up"]) say(`crash: ${line}`);
      exit(7);
    },
  },
  broken: { exposed: [5353], run: ({ exit }) => exit(127) },
  mute,
};

function work({ say, ended }: AppStart): void {
  say("worker began");
  let jobs = 0;
  const timer = setInterval(() => say(`worker did job ${++jobs}`), 100);
  ended.addEventListener("abort", () => clearInterval(timer), { once: true });
}

t.test("the memory driver keeps the contract that it stands in for", async (t) => {
  const world = openMemoryWorld(systemClock());
  for (const [name, app] of Object.entries(APPS)) world.apps.set(name, app);
  t.teardown(() => world.close());
  await conformance(t, {
    open: world.open,
    image: async (name) => ({ ref: name }),
    unknown: async () => ({ ref: "nobody" }),
    kill: (service) => world.kill(service),
    left: async (prefix) => world.left(prefix),
  });
});
