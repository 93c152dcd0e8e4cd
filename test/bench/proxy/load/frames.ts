/** WebSocket frames as the load and the container send them: whole messages of a fixed size, client's ones masked with zeros. */

/** A client's message; its mask leaves the payload as it is, so that unmasking costs nothing here. */
export function clientFrame(payload: Buffer): Buffer {
  return Buffer.concat([header(payload.length, 0x80), Buffer.alloc(4), payload]);
}

function header(length: number, masked: number): Buffer {
  if (length < 126) return Buffer.from([0x82, masked | length]);
  return Buffer.from([0x82, masked | 126, length >> 8, length & 0xff]);
}

export type Frame = { opcode: number; payloadAt: number; end: number; masked: boolean };

/** The frame that begins at `from`; undefined while it is not all there. Payloads are below 64 KiB. */
export function frameAt(data: Buffer, from: number): Frame | undefined {
  if (data.length < from + 2) return undefined;
  const second = data[from + 1] ?? 0;
  const masked = (second & 0x80) !== 0;
  let length = second & 0x7f;
  let at = from + 2;
  if (length === 126) {
    if (data.length < from + 4) return undefined;
    length = data.readUInt16BE(from + 2);
    at += 2;
  }
  if (masked) at += 4;
  if (data.length < at + length) return undefined;
  return { opcode: (data[from] ?? 0) & 0x0f, payloadAt: at, end: at + length, masked };
}

/** Sends each client's message back; for who asks, so in one write for all that came at once. A close ends it. */
export function echo(send: (frames: Buffer) => void, close: () => void): (piece: Buffer) => void {
  let held: Buffer | undefined;
  return (piece) => {
    const data = held === undefined ? piece : Buffer.concat([held, piece]);
    held = undefined;
    const out: Buffer[] = [];
    let at = 0;
    for (;;) {
      const frame = frameAt(data, at);
      if (frame === undefined) break;
      if (frame.opcode === 8) {
        close();
        return;
      }
      const payload = data.subarray(frame.payloadAt, frame.end);
      // A proxy that ends frames itself masks them anew.
      if (frame.masked) unmask(payload, data.readUInt32LE(frame.payloadAt - 4));
      if (frame.opcode === 1 || frame.opcode === 2) out.push(header(payload.length, 0), payload);
      at = frame.end;
    }
    if (at < data.length) held = Buffer.from(data.subarray(at));
    if (out.length > 0) send(Buffer.concat(out));
  };
}

function unmask(payload: Buffer, mask: number): void {
  if (mask === 0) return;
  for (let at = 0; at < payload.length; at++) payload[at] = (payload[at] ?? 0) ^ ((mask >>> ((at & 3) << 3)) & 0xff);
}
