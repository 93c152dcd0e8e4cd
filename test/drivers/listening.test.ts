import { createServer } from "node:net";
import t from "tap";
import { parseListening, readSocketTables } from "../../drivers/listening.ts";
import { listen } from "../fixtures/server.ts";

const HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const line = (local: string, state = "0A", inode = 1) =>
  `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0000000000000000 100 0 0 10 0`;

t.test("sockets that listen are read as they are bound, each once, and connections are not", async (t) => {
  const text = [
    HEAD,
    line("00000000:1F90"),
    line("0100007F:1388"),
    line("0100007F:1388"),
    line("0100007F:9999", "01"),
    HEAD,
    line("00000000000000000000000000000000:0050"),
    line("00000000000000000000000001000000:0051"),
    line("0000000000000000FFFF00000100007F:0052"),
    line("B80D0120000000000000000001000000:0053"),
  ].join("\n");
  t.strictSame(parseListening(text), [
    { host: "::", port: 80 },
    { host: "::1", port: 81 },
    { host: "127.0.0.1", port: 82 },
    { host: "2001:db8::1", port: 83 },
    { host: "127.0.0.1", port: 5000 },
    { host: "0.0.0.0", port: 8080 },
  ]);
});

t.test("only the sockets of some inodes, and of a program with thousands the first hundred", async (t) => {
  const text = [HEAD, line("00000000:0001", "0A", 7), line("00000000:0002", "0A", 8)].join("\n");
  t.strictSame(parseListening(text, new Set(["8"])), [{ host: "0.0.0.0", port: 2 }]);
  const many = Array.from({ length: 5_000 }, (_, port) => line(`00000000:${(port + 1).toString(16).toUpperCase().padStart(4, "0")}`));
  t.equal(parseListening([HEAD, ...many].join("\n"))?.length, 100);
});

t.test("what is no table is unknown, and an empty one is a program that listens nowhere", async (t) => {
  t.equal(parseListening("cat: /proc/net/tcp: No such file"), undefined);
  t.strictSame(parseListening(`${HEAD}\n`), []);
  t.strictSame(parseListening(`${HEAD}\n   0: nonsense\n   1: 0100007F:13`), []);
});

t.test("the kernel's own tables of a running process", async (t) => {
  const { port } = await listen(t, createServer());
  const text = await readSocketTables(process.pid);
  t.ok(parseListening(text ?? "")?.some((socket) => socket.host === "127.0.0.1" && socket.port === port));
  t.equal(await readSocketTables(2 ** 30), undefined);
});
