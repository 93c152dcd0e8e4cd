import t from "tap";
import { closeFrame, shortFrame, FrameBoundary } from "../../../gateway/websockets/frames.ts";

/** A server's frame; `wide` is how many bytes its length has. */
function frame(first: number, length: number, wide: 0 | 2 | 8 = length < 126 ? 0 : length < 65_536 ? 2 : 8): Buffer {
  const size = Buffer.alloc(8);
  size.writeBigUInt64BE(BigInt(length));
  const head = wide === 0 ? [first, length] : wide === 2 ? [first, 126] : [first, 127];
  return Buffer.concat([Buffer.from(head), size.subarray(8 - wide), Buffer.alloc(length, 0x88)]);
}

/** Behind other bytes, as in a buffer that others use too. */
function pass(boundary: FrameBoundary, bytes: Buffer): void {
  boundary.pass(Buffer.concat([Buffer.alloc(7, 0x88), bytes, Buffer.alloc(7, 0x88)]), 7, 7 + bytes.length);
}

const FRAMES = [
  ...[0, 1, 125, 126, 127, 255, 256, 300, 65_535, 65_536].map((length) => frame(0x82, length)),
  frame(0x01, 3),
  frame(0x89, 0),
  frame(0x00, 0),
  frame(0x80, 200),
  frame(0x8a, 125),
  // An extension's bit; lengths written longer than they must be.
  frame(0xc1, 5),
  frame(0x81, 5, 2),
  frame(0x81, 5, 8),
];

t.test("however the bytes are cut, it is open between two frames and nowhere else", async (t) => {
  const stream = Buffer.concat(FRAMES);
  const ends = new Set<number>([0]);
  let end = 0;
  for (const { length } of FRAMES) ends.add((end += length));
  for (const cut of [1, 2, 3, 5, 7, 127, 1_000, 65_536, stream.length]) {
    const boundary = new FrameBoundary();
    let wrong = 0;
    for (let at = 0; at < stream.length; at += cut) {
      if (boundary.open !== ends.has(at)) wrong++;
      pass(boundary, stream.subarray(at, at + cut));
    }
    t.equal(wrong, 0, `cut at ${cut}`);
    t.ok(boundary.open);
    t.notOk(boundary.closing);
  }
});

t.test("behind a close it is never open again, however the close is cut", async (t) => {
  const close = closeFrame(1000, "enough");
  for (const [at] of close.entries()) {
    const boundary = new FrameBoundary();
    pass(boundary, shortFrame(1, "hello"));
    t.ok(boundary.open);
    pass(boundary, close.subarray(0, at));
    t.equal(boundary.open, at === 0);
    pass(boundary, close.subarray(at));
    t.notOk(boundary.open);
    t.ok(boundary.closing);
  }
});

t.test("what no server sends closes it for good", async (t) => {
  const rows: [name: string, bytes: Buffer][] = [
    ["a mask", Buffer.from([0x81, 0x82, 1, 2, 3, 4, 5, 6])],
    ["an opcode that does not exist", frame(0x83, 1)],
    ["another", frame(0x8b, 1)],
    ["a long ping", frame(0x89, 126)],
    ["a ping in pieces", frame(0x09, 1)],
    ["a length beyond counting", Buffer.from([0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255])],
  ];
  for (const [name, bytes] of rows) {
    for (const cut of [1, 3, bytes.length]) {
      const boundary = new FrameBoundary();
      for (let at = 0; at < bytes.length; at += cut) pass(boundary, bytes.subarray(at, at + cut));
      pass(boundary, shortFrame(1, "hello"));
      t.ok(boundary.broken, name);
      t.notOk(boundary.open, name);
    }
  }
});

t.test("no bytes are nothing", async (t) => {
  const boundary = new FrameBoundary();
  pass(boundary, Buffer.alloc(0));
  t.ok(boundary.open);
  pass(boundary, frame(0x82, 10).subarray(0, 5));
  pass(boundary, Buffer.alloc(0));
  t.notOk(boundary.open);
});
