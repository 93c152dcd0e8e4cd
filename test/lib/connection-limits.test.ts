import { once } from "node:events";
import { connect, createServer } from "node:net";
import t from "tap";
import {
  addressBlock,
  limitConnections,
  plainAddress,
  createConnectionLimits,
  connectionsFor,
  descriptorLimit,
} from "../../lib/connection-limits.ts";
import type { Log } from "../../lib/log.ts";
import { openMetrics } from "../../lib/metrics/open-metrics.ts";
import { createStillClock, pause } from "../fixtures/clock.ts";
import { listen } from "../fixtures/server.ts";

function openBounds(limits: { perAddress: number; total: number }) {
  const clock = createStillClock();
  const metrics = openMetrics();
  const lines: Record<string, unknown>[] = [];
  const log = { warn: (fields: Record<string, unknown>) => void lines.push(fields) } as unknown as Log;
  const isExempt = (address: string) => address === "10.0.0.1";
  const bounds = createConnectionLimits({ ...limits, isExempt, refused: metrics.refusedConnections, clock, log });
  const refused = () => (["address", "total"] as const).map((why) => metrics.refusedConnections.at(why).value);
  return { ...bounds, bounds, clock, lines, refused };
}

t.test("one address has its part of the connections, and a load balancer in front all of them", async (t) => {
  const { admit, refused } = openBounds({ perAddress: 2, total: 8 });
  const taken = [admit("192.0.2.1"), admit("::ffff:192.0.2.1")];
  t.ok(taken.every(Boolean));
  t.equal(admit("192.0.2.1"), undefined);
  t.ok(admit("192.0.2.2"));
  for (const last of [1, 2]) t.ok(admit(`2001:db8::${last}`));
  t.equal(admit("2001:db8::3"), undefined, "a /64 is one client");
  for (const from of ["10.0.0.1", "::ffff:10.0.0.1", undefined]) t.ok(admit(from), String(from));
  t.same(refused(), [2, 0]);
  t.equal(admit("10.0.0.1"), undefined, "but for the total");
  t.same(refused(), [2, 1]);
  taken[0]?.release();
  taken[0]?.release();
  t.ok(admit("192.0.2.1"), "a closed one does not count");
  t.equal(admit("192.0.2.3"), undefined, "and counts once only");
});

t.test("near a bound, connections without a request are to close", async (t) => {
  const ofOne = openBounds({ perAddress: 10, total: 1_000 });
  const first = ofOne.admit("192.0.2.1");
  const other = ofOne.admit("192.0.2.2");
  for (let n = 0; n < 7; n++) ofOne.admit("192.0.2.1");
  t.notOk(first?.crowded);
  ofOne.admit("192.0.2.1");
  t.ok(first?.crowded);
  t.notOk(other?.crowded, "of another address there are few");
});

t.test("refusals are logged once a second at most, with how many there were", async (t) => {
  const { admit, clock, lines } = openBounds({ perAddress: 1, total: 8 });
  admit("192.0.2.1");
  for (let n = 0; n < 100; n++) admit("192.0.2.1");
  await clock.advance(999);
  admit("192.0.2.1");
  t.match(lines, [{ why: "address", address: "192.0.2.1", refused: 1 }]);
  await clock.advance(1);
  admit("192.0.2.1");
  t.match(lines[1], { refused: 101 });
});

t.test("a server that is held to them closes what is too many at once", async (t) => {
  const { bounds } = openBounds({ perAddress: 2, total: 8 });
  const server = createServer((socket) => socket.on("error", () => undefined).resume());
  limitConnections(server, bounds);
  const { port } = await listen(t, server);
  const open = async (localAddress = "127.0.0.1") => {
    const socket = connect({ port: port, host: "127.0.0.1", localAddress });
    t.teardown(() => socket.destroy());
    socket.on("error", () => undefined).resume();
    await once(socket, "connect");
    return socket;
  };
  const [one] = [await open(), await open()];
  await once(await open(), "close");
  const other = await open("127.0.0.2");
  one.destroy();
  await pause(20);
  const again = await open();
  await pause(20);
  t.notOk(other.destroyed || again.destroyed);
});

t.test("half of the descriptors are for clients, so that each can have a container", async (t) => {
  t.equal(connectionsFor(undefined, 65_536), 65_536);
  t.equal(connectionsFor(1_048_576, 65_536), 65_536);
  t.equal(connectionsFor(1_024, 65_536), 384);
  t.equal(connectionsFor(100, 65_536), 16);
  const limit = descriptorLimit();
  t.ok(limit === undefined || limit > 16);
});

t.test("a client is counted by its IPv4 address, or by the /64 that it has", async (t) => {
  const rows: [address: string, block: string][] = [
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:DB8:1:2::9", "2001:db8:1:2::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["2001:db8:1:2::", "2001:db8:1:2::/64"],
    ["::1", "0:0:0:0::/64"],
    ["64:ff9b::192.0.2.1", "64:ff9b:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["1:2:3:4:5:6:7::", "1:2:3:4::/64"],
    ["", ""],
    ["no:address", "no:address"],
  ];
  for (const [address, block] of rows) t.equal(addressBlock(address), block, address);
});

t.test("an IPv4 peer of a socket for IPv6 has its own address", async (t) => {
  for (const [address, plain] of [
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["::FFFF:10.0.0.1", "10.0.0.1"],
    ["10.0.0.1", "10.0.0.1"],
    ["::ffff:0:1", "::ffff:0:1"],
    ["2001:db8::1", "2001:db8::1"],
    [undefined, ""],
  ] as const)
    t.equal(plainAddress(address), plain);
});
