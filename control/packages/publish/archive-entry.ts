import type { Entry } from "yauzl";
import { Fault } from "../../../lib/fault.ts";

/** What an entry may be, judged from the archive's directory alone, before a byte of it is inflated. */
export type EntryKind = "file" | "folder";

const LONGEST_PATH = 1_024;
const LONGEST_NAME = 255;
/** Folders are made one by one, each below the one before. */
const MAX_DEPTH = 32;
/** The type bits of a Unix mode. Archives that were not made on Unix say 0. */
const FILE_TYPES: Readonly<Record<number, EntryKind>> = { 0: "file", 0o100000: "file", 0o040000: "folder" };

/** Faults: PACKAGE_INVALID for a link or a device, an encrypted entry, and a name that does not stay below the folder it is unpacked in. */
export function judgeEntry(entry: Entry): EntryKind {
  const refuse = (why: string) => new Fault("PACKAGE_INVALID", `The package holds ${JSON.stringify(entry.fileName.slice(0, 200))}, ${why}.`);
  const folder = entry.fileName.endsWith("/");
  const path = folder ? entry.fileName.slice(0, -1) : entry.fileName;

  const kind = FILE_TYPES[unixMode(entry) & 0o170000];
  if (kind === undefined) throw refuse("a link or a special file; only files and folders are allowed");
  if (entry.isEncrypted()) throw refuse("which is encrypted");
  if (!entry.canDecodeFileData()) throw refuse("which is compressed in a way that is not supported; use deflate");
  // eslint-disable-next-line no-control-regex -- control characters are what it looks for
  if (/[\u0000-\u001f\u007f]/.test(path)) throw refuse("whose name holds a control character");
  if (Buffer.byteLength(path) > LONGEST_PATH || path.split("/").some((name) => Buffer.byteLength(name) > LONGEST_NAME))
    throw refuse("whose name is too long");
  if (path.split("/").length > MAX_DEPTH) throw refuse(`which lies more than ${MAX_DEPTH} folders deep`);
  if (path.split("/").some((name) => name === "" || name === "." || name === "..")) throw refuse("whose path has an empty, `.` or `..` part");
  return folder ? "folder" : "file";
}

/** 0755 or 0644: whether a file is a program is the only thing taken over. */
export function fileMode(entry: Entry): number {
  return (unixMode(entry) & 0o111) === 0 ? 0o644 : 0o755;
}

function unixMode(entry: Entry): number {
  return entry.externalFileAttributes >>> 16;
}
