import t from "tap";
import { CLOSE, closeFor, closeReason, closeFrame, shortFrame } from "../../../gateway/websockets/frames.ts";
import { Fault } from "../../../lib/fault.ts";
import { frame } from "../../fixtures/frame.ts";

t.test("frames of our own are frames", async (t) => {
  t.ok(shortFrame(1, "CONNECTED").equals(frame(1, Buffer.from("CONNECTED"), { masked: false })));
  t.ok(closeFrame(1011, "why").equals(frame(8, Buffer.from("\x03\xf3why", "latin1"), { masked: false })));
  const longest = closeFrame(1011, closeReason("x".repeat(500)));
  t.equal(longest.length, 2 + 125, "the longest that a control frame may be");
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
