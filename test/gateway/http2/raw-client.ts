import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import type { Test } from "tap";
import { eventually } from "../../fixtures/eventually.ts";

export const TYPE = { data: 0, headers: 1, priority: 2, reset: 3, settings: 4, ping: 6, goaway: 7, windowUpdate: 8, continuation: 9 } as const;
export const FLAG = { endStream: 1, ack: 1, endHeaders: 4 } as const;

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** One frame (RFC 9113 §4.1). */
export function rawFrame(type: number, flags: number, stream: number, payload: Buffer | string = ""): Buffer {
  const body = Buffer.from(payload);
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, body]);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A setting and its value (RFC 9113 §6.5.1). */
export function setting(id: number, value: number): Buffer {
  return Buffer.concat([Buffer.from([0, id]), uint32(value)]);
}

/** HPACK's form of an integer (RFC 7541 §5.1). */
function integer(value: number, bits: number, first: number): Buffer {
  const most = 2 ** bits - 1;
  if (value < most) return Buffer.from([first | value]);
  const bytes = [first | most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

/** A field without compression; `indexed`: the other end keeps it in its table. */
export function field(name: string, value: string, indexed = false): Buffer {
  const text = (value: string) => Buffer.concat([integer(value.length, 7, 0), Buffer.from(value, "latin1")]);
  return Buffer.concat([Buffer.from([indexed ? 0x40 : 0]), text(name), text(value)]);
}

/** The fields of a request with the caller's token. */
export function requestFields(path: string, method = "GET"): Buffer {
  return Buffer.concat([
    field(":method", method),
    field(":scheme", "https"),
    field(":path", path),
    field(":authority", "localhost"),
    field("authorization", "token"),
  ]);
}

export type ReceivedFrame = { type: number; flags: number; stream: number; payload: Buffer };

export type RawClient = {
  socket: TLSSocket;
  /** What came so far. */
  frames: ReceivedFrame[];
  /** Sends frames while the other end takes them. Resolves when all are sent, or the connection is closed. */
  send(...frames: Buffer[]): Promise<void>;
  /** Resolves to the code of its GOAWAY, or undefined without one, when the connection is closed. */
  ended(): Promise<number | undefined>;
};

/** A client that writes frames as a test wants them. */
export async function openRawClient(
  t: Pick<Test, "teardown">,
  { port, cert }: { port: number; cert: string },
  settings: Buffer = Buffer.alloc(0),
): Promise<RawClient> {
  const socket = connect({ port, host: "127.0.0.1", servername: "localhost", ca: cert, ALPNProtocols: ["h2"] });
  socket.on("error", () => undefined);
  t.teardown(() => socket.destroy());
  const frames: ReceivedFrame[] = [];
  let rest = Buffer.alloc(0);
  socket.on("data", (bytes: Buffer) => {
    rest = Buffer.concat([rest, bytes]);
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const end = 9 + rest.readUIntBE(0, 3);
      frames.push({ type: rest.readUInt8(3), flags: rest.readUInt8(4), stream: rest.readUInt32BE(5), payload: rest.subarray(9, end) });
      rest = rest.subarray(end);
    }
  });
  await once(socket, "secureConnect");
  socket.write(Buffer.concat([Buffer.from(PREFACE), rawFrame(TYPE.settings, 0, 0, settings)]));
  await eventually("the server's settings", () => frames.length > 0);
  const closed = () => socket.destroyed || socket.readableEnded;
  return {
    socket,
    frames,
    send: async (...all) => {
      for (const bytes of all) {
        if (closed()) return;
        if (!socket.write(bytes)) await Promise.race([once(socket, "drain"), once(socket, "close"), once(socket, "end")]).catch(() => undefined);
      }
    },
    ended: async () => {
      await eventually("the connection to be closed", closed);
      return frames.findLast(({ type }) => type === TYPE.goaway)?.payload.readUInt32BE(4);
    },
  };
}
