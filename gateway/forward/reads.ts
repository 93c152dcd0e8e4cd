import { Socket, type NetConnectOpts } from "node:net";
import { Link } from "./link.ts";

/**
 * How connections are read. `events`: by Node's `data` events, each with a fresh buffer. `buffers`: the system reads into a buffer that is
 * used again and again, which costs less for small messages, and half for long bodies, since it may be as large as one likes.
 */
export const READS = ["events", "buffers"] as const;
export type Reads = (typeof READS)[number];

export type OpenLinks = {
  /** A link over a connection that a server has just accepted and not read from. */
  accept(socket: Socket): Link;
  /** A link over a connection that is being made; the socket's own events tell how that goes. */
  connect(options: NetConnectOpts): Link;
};

/** What all links of a process read into while they expect little: each read is over before the next begins. */
const SMALL_BYTES = 65_536;
/** What a link reads into once a body turned out to be long. */
const LARGE_BYTES = 524_288;

export function openLinks(reads: Reads): OpenLinks {
  if (reads === "events") {
    return { accept: (socket) => new Link(() => socket, false), connect: (options) => new Link(() => new Socket(options).connect(options), false) };
  }
  const small = Buffer.allocUnsafeSlow(SMALL_BYTES);
  const made = (link: Link, options: object) => new Socket({ ...options, onread: intoBuffers(link, small) });
  return {
    accept: (socket) => {
      const handle = takeHandle(socket);
      if (handle === undefined) return new Link(() => socket, false);
      return new Link((link) => made(link, { handle, allowHalfOpen: true, manualStart: true }), true);
    },
    connect: (options) => new Link((link) => made(link, options).connect(options), true),
  };
}

function intoBuffers(link: Link, small: Buffer): { buffer: () => Uint8Array; callback: (bytes: number, buffer: Uint8Array) => boolean } {
  let current: Buffer | undefined;
  let next = small;
  return {
    // Asked after each read; only a change is of interest.
    buffer: () => (next === current ? (undefined as unknown as Uint8Array) : (current = next)),
    callback: (bytes) => {
      const from = current ?? small;
      link.user.onBytes(from.subarray(0, bytes));
      if (bytes === SMALL_BYTES && next === small) next = Buffer.allocUnsafeSlow(LARGE_BYTES);
      else if (bytes < SMALL_BYTES / 4 && next !== small) next = small;
      return true;
    },
  };
}

/**
 * Takes the connection out of the socket that the server made, so that one can be made that reads into buffers: there is no public way to
 * ask a server for such. Undefined where it is not as expected, or the connection is one that Node decrypts.
 */
function takeHandle(socket: Socket): object | undefined {
  if ("encrypted" in socket) return undefined;
  const handle = Reflect.get(socket, "_handle") as { readStart?: unknown; useUserBuffer?: unknown } | null;
  if (typeof handle?.readStart !== "function" || typeof handle.useUserBuffer !== "function") return undefined;
  Reflect.set(socket, "_handle", null);
  // The server counts it as gone; whoever has the link keeps count of it.
  socket.destroy();
  return handle;
}
