import t from "tap";
import { QueuedFrames } from "../../../gateway/websockets/queued-frames.ts";
import { frame } from "../../fixtures/frame.ts";

const PONG = 10;

function pushed(bytes: Buffer, cut = bytes.length): QueuedFrames {
  const frames = new QueuedFrames();
  for (let at = 0; at < bytes.length; at += cut) frames.push(bytes, at, Math.min(at + cut, bytes.length));
  return frames;
}

t.test("however the bytes are cut, every frame is kept in order but the pongs", async (t) => {
  const sizes = [0, 1, 125, 126, 127, 300, 65_535, 65_536];
  const kept = sizes.map((size, at) => frame(at % 2 === 0 ? 1 : 2, Buffer.alloc(size, size), { fin: at % 3 !== 0, wide: at % 4 === 0 }));
  kept.push(frame(9, Buffer.from("ping")));
  const pongs = [frame(PONG, Buffer.alloc(0)), frame(PONG, Buffer.alloc(125, 1))];
  const stream = Buffer.concat(kept.flatMap((one, at) => [one, ...pongs.slice(0, at % 3)]));
  for (const cut of [1, 2, 3, 7, 1_000, stream.length]) {
    const frames = pushed(stream, cut);
    t.ok(Buffer.concat(frames.take()).equals(Buffer.concat(kept)), `cut at ${cut}`);
    t.equal(frames.dropped, stream.length - Buffer.concat(kept).length);
    t.notOk(frames.closed);
  }
});

t.test("of a frame that has come in part that part is kept, and the rest of a pong is distinguished from what follows it", async (t) => {
  const text = frame(1, Buffer.from("text"));
  const pong = frame(PONG, Buffer.from("pong"));
  for (let cut = 1; cut < text.length; cut++) t.ok(Buffer.concat(pushed(text.subarray(0, cut)).take()).equals(text.subarray(0, cut)));
  for (let cut = 1; cut < pong.length; cut++) {
    const frames = pushed(Buffer.concat([text, pong.subarray(0, cut)]));
    t.ok(frames.withinPong);
    t.ok(Buffer.concat(frames.take()).equals(text));
    t.equal(frames.behindPong(pong, cut, Math.min(cut + 1, pong.length)) === -1, cut + 1 < pong.length);
    const rest = Buffer.concat([pong.subarray(cut + 1), text]);
    t.ok(rest.subarray(frames.behindPong(rest, 0, rest.length)).equals(text), `cut at ${cut}`);
  }
});

t.test("a close is seen once it has come as a whole, and nothing behind it is read", async (t) => {
  const payload = Buffer.from("\x03\xe8bye", "latin1");
  // The fixture sets a key and does not use it.
  const close = frame(8, Buffer.from(payload.map((byte, at) => byte ^ ((at % 4) + 1))));
  for (let cut = 1; cut < close.length; cut++) t.notOk(pushed(close.subarray(0, cut)).closed);
  for (const cut of [1, 5, 100]) {
    const frames = pushed(Buffer.concat([frame(1, Buffer.from("x")), close, Buffer.from("no frame")]), cut);
    t.ok(frames.closed);
    t.ok(frames.closePayload().equals(payload));
  }
  t.equal(pushed(frame(8, Buffer.alloc(0))).closePayload().length, 0);
});

t.test("bytes that are no frames of a client are refused", async (t) => {
  const rows: [name: string, bytes: Buffer][] = [
    ["a frame without a mask", frame(1, Buffer.alloc(1), { masked: false })],
    ["a long one without a mask", frame(1, Buffer.alloc(300), { masked: false })],
    ["a long ping", frame(9, Buffer.alloc(126))],
    ["a long close", frame(8, Buffer.alloc(126))],
    ["a ping in pieces", frame(9, Buffer.alloc(1), { fin: false })],
    ["an extension's bit", Buffer.concat([Buffer.from([0xc1]), frame(1, Buffer.alloc(1)).subarray(1)])],
    ["a length beyond counting", Buffer.from([0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4])],
  ];
  for (const [name, bytes] of rows) for (const cut of [1, bytes.length]) t.throws(() => pushed(bytes, cut), { name: "FrameError" }, name);
});

t.test("a frame takes the memory of its bytes, and no more", async (t) => {
  const flood = Buffer.concat(Array.from({ length: 10_000 }, () => frame(9, Buffer.alloc(0))));
  const frames = pushed(flood, 65_536);
  t.equal(frames.size, flood.length);
  t.ok(frames.memory <= 2 * flood.length);
  frames.clear();
  t.same([frames.size, frames.memory], [0, 0]);
});
