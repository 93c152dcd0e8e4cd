import t from "tap";
import { openRing } from "../../../gateway/connections/choose-sockets.ts";
import { FfiSockets } from "../../../gateway/connections/ffi-sockets.ts";
import { type Libc, loadLibc } from "../../../gateway/connections/libc.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { countDescriptors, openPairs } from "./layer-stand.ts";

/** Rings of this process. */
const rings = () => countDescriptors("anon_inode:[io_uring]");

t.test("where the kernel does not have it, or it does something else, it is not used", (t) => {
  const libc = loadLibc();
  const enter = libc.io_uring_enter;
  const differing: [Partial<Libc>, RegExp][] = [
    [{ io_uring_setup: () => -1, failure: () => new Error("io_uring_setup ENOSYS") }, /^io_uring_setup ENOSYS$/],
    [{ socketpair: () => -1, failure: () => new Error("socketpair EMFILE") }, /^(?:socketpair EMFILE|io_uring_setup E[A-Z]+)$/],
    [
      { io_uring_enter: (_fd, submit) => (submit > 0 ? submit : -1), errno: () => 9, failure: (call) => new Error(`${call} EBADF`) },
      /^io_uring_(?:enter|setup) EBADF$/,
    ],
    [{ io_uring_enter: () => -1 }, /^io_uring (?:returned -4,-4,-4,-4,-4, not -11,7,11,-9,18|_setup)/],
    [{ io_uring_enter: (fd, submit, ...more) => enter(fd, Math.min(submit, 1), ...more) }, /^io_uring/],
  ];
  const before = rings();
  for (const [change, problem] of differing) t.match(openRing({ ...libc, ...change }), { ring: undefined, ringProblem: problem });
  t.equal(rings(), before, "none stays open");
  t.end();
});

for (const [taken, before] of [0, 1, 5].flatMap((count) => [[count, 0] as const, [count, 1] as const])) {
  const what = before === 0 ? "receives" : "sends";
  t.test(`when the kernel takes ${taken} of some ${what}, the others are made one by one, and so is every later call`, async (t) => {
    const libc = loadLibc();
    const enter = libc.io_uring_enter;
    /** Submissions until the one that fails: a turn receives, then sends. */
    let left = Infinity;
    const failing: Libc = {
      ...libc,
      io_uring_enter: (fd, submit, ...more) => {
        if (submit === 0 || left-- !== 0) return enter(fd, submit, ...more);
        return taken === 0 ? -1 : enter(fd, Math.min(submit, taken), ...more);
      },
    };
    const { ring } = openRing(failing);
    const kind = {
      name: "failing",
      open: (events: ConstructorParameters<typeof FfiSockets>[1]) =>
        new FfiSockets({ libc: failing, ring, fewestCalls: 1 }, events, { poison: true }),
      transports: ["IPv4"] as const,
      turnBytes: Infinity,
    };
    const { stand, pair } = await openPairs(t, { kind, transport: "IPv4" });
    const pairs = await Promise.all(Array.from({ length: 20 }, () => pair()));
    const received = pairs.map(({ peer }) => {
      const texts: string[] = [];
      peer.on("data", (chunk: Buffer) => texts.push(String(chunk)));
      return texts;
    });
    for (const { socket } of pairs) {
      socket.onBytes = (memory, at, end) => void stand.layer.send(socket.id, memory, at, end);
      socket.layer.resume(socket.id);
    }
    const later = await pair();
    later.socket.layer.resume(later.socket.id);
    const echo = async (text: string, submissions = Infinity) => {
      for (const { socket } of pairs) socket.layer.pause(socket.id);
      for (const [index, { peer }] of pairs.entries()) peer.write(`${text} ${index}.`);
      later.peer.write(text);
      await eventually("what came after all others", () => later.socket.text.endsWith(text));
      left = submissions;
      // All are read in one turn.
      for (const { socket } of pairs) socket.layer.resume(socket.id);
      await eventually("each echo", () => received.every((texts, index) => texts.join("").endsWith(`${text} ${index}.`)));
    };
    await echo("before");
    await echo("while", before);
    // Undefined: this machine has no io_uring.
    t.not(ring?.isUsable, true);
    await echo("after");
    t.strictSame(
      received.map((texts) => texts.join("")),
      pairs.map((_, index) => `before ${index}.while ${index}.after ${index}.`),
    );
  });
}
