import t from "tap";
import { CLOSE, closeFor, closeReason } from "../../gateway/containers/close-codes.ts";
import { closeFrame, shortFrame, walkFrames, type FrameHead } from "../../gateway/containers/frames.ts";
import { Fault } from "../../fault.ts";

function frame(opcode: number, payload: Buffer, options: { fin?: boolean; masked?: boolean; wide?: boolean } = {}): Buffer {
  const { fin = true, masked = true, wide = false } = options;
  const mask = masked ? 0x80 : 0;
  const first = Buffer.from([(fin ? 0x80 : 0) | opcode]);
  const size =
    wide || payload.length > 0xffff
      ? Buffer.concat([Buffer.from([mask | 127]), bigSize(payload.length)])
      : payload.length > 125
        ? Buffer.from([mask | 126, payload.length >> 8, payload.length & 0xff])
        : Buffer.from([mask | payload.length]);
  return Buffer.concat([first, size, masked ? Buffer.from([1, 2, 3, 4]) : Buffer.alloc(0), payload]);
}

function bigSize(size: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(size));
  return bytes;
}

t.test("however the bytes are cut, the frames are the same and no byte is lost", async (t) => {
  const sizes = [0, 1, 125, 126, 127, 300, 65_535, 65_536];
  for (const masked of [true, false]) {
    const stream = Buffer.concat(sizes.map((size, at) => frame(at % 2 === 0 ? 1 : 2, Buffer.alloc(size, size), { masked, fin: at % 3 !== 0 })));
    for (const cut of [1, 2, 3, 7, 1_000, stream.length]) {
      const heads: FrameHead[] = [];
      const seen: Buffer[] = [];
      const walker = walkFrames(masked, { bytes: (bytes) => void seen.push(Buffer.from(bytes)), ended: (head) => void heads.push(head) });
      for (let at = 0; at < stream.length; at += cut) walker.push(stream.subarray(at, at + cut));
      t.ok(Buffer.concat(seen).equals(stream), `cut at ${cut}, masked ${masked}`);
      t.same(
        heads.map(({ length }) => length),
        sizes,
      );
      t.ok(walker.atBoundary());
    }
  }
});

t.test("between the first byte of a frame and its last there is no boundary", async (t) => {
  const walker = walkFrames(true);
  const bytes = frame(1, Buffer.from("hello"));
  for (const [at] of bytes.entries()) {
    walker.push(bytes.subarray(at, at + 1));
    t.equal(walker.atBoundary(), at === bytes.length - 1, `after byte ${at}`);
  }
});

t.test("bytes that are no frames are refused", async (t) => {
  const rows: [name: string, masked: boolean, bytes: Buffer][] = [
    ["a client's frame without a mask", true, frame(1, Buffer.alloc(1), { masked: false })],
    ["a server's frame with one", false, frame(1, Buffer.alloc(1))],
    ["a long ping", true, frame(9, Buffer.alloc(126))],
    ["a ping in pieces", true, frame(9, Buffer.alloc(1), { fin: false })],
    ["an extension's bit", true, Buffer.concat([Buffer.from([0xc1]), frame(1, Buffer.alloc(1)).subarray(1)])],
    ["a length beyond counting", true, Buffer.from([0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4])],
  ];
  for (const [name, masked, bytes] of rows) t.throws(() => walkFrames(masked).push(bytes), { name: "FrameError" }, name);
});

t.test("frames of our own are frames", async (t) => {
  t.ok(shortFrame(1, "CONNECTED").equals(frame(1, Buffer.from("CONNECTED"), { masked: false })));
  t.ok(closeFrame(1011, "why").equals(frame(8, Buffer.from("\x03\xf3why", "latin1"), { masked: false })));
  const longest = closeFrame(1011, closeReason("x".repeat(500)));
  t.doesNotThrow(() => walkFrames(false).push(longest));
});

t.test("a reason is at most 123 bytes and never cut within a character", async (t) => {
  for (const letter of ["a", "ä", "€", "😀"]) {
    for (let pad = 0; pad < 4; pad++) {
      const reason = closeReason("-".repeat(pad) + letter.repeat(200));
      t.ok(Buffer.byteLength(reason) <= 123 && Buffer.byteLength(reason) > 119, `${letter} after ${pad}`);
      t.notMatch(reason, /\ufffd/);
    }
  }
  t.equal(closeReason("short"), "short");
});

t.test("each failure has the close code that says what to do", async (t) => {
  t.equal(closeFor(new Fault("TOKEN_MISSING", "x")).code, CLOSE.policy);
  t.equal(closeFor(new Fault("CONTAINER_NOT_FOUND", "x")).code, CLOSE.policy);
  t.equal(closeFor(new Fault("HOLD_FULL", "x")).code, CLOSE.tryLater);
  t.equal(closeFor(new Fault("CONTROL_AWAY", "x")).code, CLOSE.tryLater);
  t.equal(closeFor(new Fault("CONTAINER_CRASHED", "x")).code, CLOSE.failed);
  t.equal(closeFor(new Fault("WEBSOCKET_MISMATCH", "x")).code, CLOSE.protocolError);
});
