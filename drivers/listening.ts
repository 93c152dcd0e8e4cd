import { open } from "node:fs/promises";
import type { Address } from "./driver.ts";

/** The kernel lists sockets that listen first, so the rest of a long table is connections. */
export const LONGEST_SOCKET_TABLE = 256 * 1024;

/** The column `st` of a socket that listens: TCP_LISTEN of the kernel's include/net/tcp_states.h. */
const LISTENS = "0A";
/** A program that listens on each of thousands of ports is shown by its first ones. */
const MOST_SOCKETS = 100;

/**
 * The sockets that listen, of the text of `/proc/net/tcp` and `/proc/net/tcp6` in any order (proc_net_tcp of the kernel's documentation): each address once,
 * in the order of the ports. `inodes`: of these sockets only. Undefined for a text without such a table.
 */
export function parseListening(text: string, inodes?: ReadonlySet<string>): Address[] | undefined {
  if (!text.includes("local_address")) return undefined;
  const sockets = new Map<string, Address>();
  for (const line of text.split("\n")) {
    const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
    const match = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(local);
    if (!match || state !== LISTENS || (inodes && !inodes.has(inode)) || sockets.size >= MOST_SOCKETS) continue;
    const [, address = "", port = ""] = match;
    const socket = { host: address.length === 8 ? writeIPv4(address) : writeIPv6(address), port: Number.parseInt(port, 16) };
    sockets.set(`${socket.host} ${socket.port}`, socket);
  }
  return [...sockets.values()].toSorted((one, other) => one.port - other.port);
}

/** Both tables of a process's network; undefined if there is no such process, or if it may not be read. */
export async function readSocketTables(pid: number): Promise<string | undefined> {
  const tables = await Promise.all(["tcp", "tcp6"].map((table) => readTable(`/proc/${pid}/net/${table}`)));
  // A machine may have no IPv6.
  return tables[0] === undefined ? undefined : tables.join("\n");
}

async function readTable(path: string): Promise<string | undefined> {
  const file = await open(path).catch(() => undefined);
  if (!file) return undefined;
  try {
    let text = "";
    // Such files have no size, and a read ends at a page.
    for await (const piece of file.createReadStream({ encoding: "latin1", autoClose: false })) {
      text += piece as string;
      if (text.length >= LONGEST_SOCKET_TABLE) break;
    }
    return text;
  } catch {
    return undefined;
  } finally {
    await file.close();
  }
}

/** The kernel writes each four bytes as one number of the machine, which is little-endian on all that berth runs on. */
function bytesOf(hex: string): number[] {
  const words = hex.match(/.{8}/g) ?? [];
  return words.flatMap((word) => [6, 4, 2, 0].map((at) => Number.parseInt(word.slice(at, at + 2), 16)));
}

function writeIPv4(hex: string): string {
  return bytesOf(hex).join(".");
}

function writeIPv6(hex: string): string {
  const bytes = bytesOf(hex);
  const mapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  if (mapped) return bytes.slice(12).join(".");
  const groups = Array.from({ length: 8 }, (_, index) => (((bytes[index * 2] ?? 0) << 8) | (bytes[index * 2 + 1] ?? 0)).toString(16));
  // The URL parser writes the canonical form (RFC 5952).
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}
