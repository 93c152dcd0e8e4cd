import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { join } from "node:path";
import t, { type Test } from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** Stands in for systemd, which is not the first process here: takes its datagrams as that does, from its own systemd-notify, and prints them. */
const LISTENER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True:
    print(s.recv(4096).decode().replace("\\n", " "), flush=True)
`;

async function listener(t: Test) {
  const socket = join(tempFolder(t), "notify");
  const python = spawn("/usr/bin/python3", ["-c", LISTENER, socket], { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => python.kill());
  const lines = createInterface({ input: python.stdout });
  await once(lines, "line");
  return { socket, nextLine: async () => String((await once(lines, "line"))[0]) };
}

t.test("systemd hears that berth is ready once it is, and that it is ending", async (t) => {
  const { socket, nextLine } = await listener(t);
  const first = (async () => {
    for (;;) {
      const line = await nextLine();
      if (line.includes("READY=1")) return line;
    }
  })();
  const berth = await startBerth({ data: tempFolder(t), env: { BERTH_DRIVER: "process", NOTIFY_SOCKET: socket } });
  t.match(await first, /READY=1/);
  const last = (async () => {
    for (;;) {
      const line = await nextLine();
      if (line.includes("STOPPING=1")) return line;
    }
  })();
  await berth.stop();
  t.match(await last, /STOPPING=1/);
});

t.test("systemd is notified again and again that berth is alive, where its unit has a watchdog", async (t) => {
  const { socket, nextLine } = await listener(t);
  const alive = (async () => {
    for (let left = 3; left > 0;) if ((await nextLine()).includes("WATCHDOG=1")) left--;
    return true;
  })();
  const berth = await startBerth({ data: tempFolder(t), env: { BERTH_DRIVER: "process", NOTIFY_SOCKET: socket, WATCHDOG_USEC: "1000000" } });
  t.ok(await alive);
  await berth.stop();
});

t.test("a berth that cannot tell systemd says so, and goes on", async (t) => {
  const berth = await startBerth({ data: tempFolder(t), env: { BERTH_DRIVER: "process", NOTIFY_SOCKET: "/no/such/socket" } });
  t.equal((await berth.call("/users/current")).status, 200);
  await berth.stop();
  t.match(berth.output(), /systemd was not notified that berth is ready/);
});
