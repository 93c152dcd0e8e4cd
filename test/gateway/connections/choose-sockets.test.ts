import { execFileSync } from "node:child_process";
import { join } from "node:path";
import t from "tap";
import { testFfiSockets } from "../../../gateway/connections/choose-sockets.ts";
import { type Libc, loadLibc } from "../../../gateway/connections/libc.ts";
import { systemClock } from "../../../lib/clock.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { countDescriptors } from "./layer-stand.ts";

/** Epoll descriptors of this process. */
const epolls = () => countDescriptors("anon_inode:[eventpoll]");

const LIBC = JSON.stringify(join(import.meta.dirname, "../../../gateway/connections/libc.ts"));

t.test("passes on this machine, and leaves nothing open", async (t) => {
  const before = epolls();
  await testFfiSockets(loadLibc(), systemClock());
  await eventually("the descriptor to be closed", () => epolls() === before);
  t.equal(epolls(), before);
});

t.test("finds what differs, and leaves nothing open", async (t) => {
  const libc = loadLibc();
  const clock = createStillClock();
  const before = epolls();
  const differing: [Partial<Libc>, RegExp][] = [
    [{ errno: () => 0 }, /^close\(-1\) returned -1 with errno 0/],
    [{ uv_handle_size: () => 0n }, /^uv_handle_size reports 0 bytes/],
    [{ epoll_create1: () => -1 }, /^epoll_create1 /],
    [{ epoll_wait: () => 1 }, /^epoll_event differs/],
    [{ fcntl: () => -1 }, /^adopt /],
    [{ readv: () => -1, errno: () => 9 }, /^read /],
  ];
  for (const [change, message] of differing) await t.rejects(testFfiSockets({ ...libc, ...change }, clock), { message });
  for (const silent of [{ uv_poll_start: () => 0 }, { writev: (_fd: number, _vectors: bigint, _count: number) => 0 }]) {
    const result = t.rejects(testFfiSockets({ ...libc, ...silent }, clock), { message: /did not end within 5000 ms/ });
    await eventually("the time limit", async () => {
      await clock.advance(100);
      return clock.pending() === 0;
    });
    await result;
  }
  await eventually("the descriptors to be closed", () => epolls() === before);
});

t.test("node:ffi loads without a warning, and not where it cannot work", async (t) => {
  const script = join(
    t.testdir({
      "load.ts": `import { loadLibc } from ${LIBC};
        import { Worker, isMainThread } from "node:worker_threads";
        try { console.log(typeof loadLibc().readv); } catch (error) { console.log(error.message); }
        if (isMainThread) new Worker(import.meta.filename);`,
    }),
    "load.ts",
  );
  const run = (...flags: string[]) =>
    execFileSync("/bin/sh", ["-c", 'exec "$0" "$@" 2>&1', process.execPath, ...flags, script], { encoding: "utf8" });
  t.equal(run(), "function\nnot available in a worker thread\n");
  t.equal(run("--no-experimental-ffi"), "this Node has no node:ffi\nnot available in a worker thread\n");
});
