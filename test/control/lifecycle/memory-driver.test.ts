import { createServer } from "node:http";
import t from "tap";
import { systemClock } from "../../../clock.ts";
import { conformance } from "../../drivers/conformance.ts";
import { BACKENDS } from "../../drivers/conformance/backends.ts";
import { type AppStart, type MemoryApp, mute, openMemoryWorld } from "../../fixtures/memory-driver.ts";

/** The conformance kit's apps, in miniature. */
const APPS: Record<string, MemoryApp> = {
  onDemand: { exposed: [15353], run: square },
  plain: { exposed: [5353], run: square },
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
  hungry: { exposed: [5353], run: ({ exit }) => exit(137, true) },
  mute,
};

function square({ env, listen, exit }: AppStart): void {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://app");
    if (url.pathname === "/exit") return void response.end("bye", () => exit(Number(url.searchParams.get("code"))));
    response.end(JSON.stringify(url.pathname === "/env" ? env : { result: Number(url.searchParams.get("number")) ** 2 }));
  });
  setTimeout(() => listen(server), Number(env["BOOT_MS"] ?? 5));
}

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
