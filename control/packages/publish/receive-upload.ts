import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { crc32 } from "node:zlib";
import { type Entry, openPromise, type ZipFile } from "yauzl";
import type { Clock } from "../../../lib/clock.ts";
import { raceAbort } from "../../../lib/deadline.ts";
import { Fault } from "../../../lib/fault.ts";
import { storeFault } from "../../store/store-fault.ts";

/** A client that sends less than this in each period is given up. */
const SLOWEST_BYTES = 65_536;
const SLOWEST_PERIOD_MS = 30_000;

/** Writes an upload into the file `to`. Faults: PACKAGE_TOO_LARGE, UPLOAD_TOO_SLOW, STORE_FULL, STORE_READ_ONLY. */
export async function receiveUpload(options: {
  body: AsyncIterable<Buffer>;
  to: string;
  maxBytes: number;
  clock: Clock;
  signal: AbortSignal;
}): Promise<void> {
  const { body, to, maxBytes, clock, signal } = options;
  const slow = new AbortController();
  let bytes = 0;
  let before = 0;
  const look = () => {
    if (bytes - before < SLOWEST_BYTES) {
      const sentence = `The package arrives too slowly: ${bytes - before} bytes in ${SLOWEST_PERIOD_MS / 1_000} s; ${SLOWEST_BYTES} are needed.`;
      return slow.abort(new Fault("UPLOAD_TOO_SLOW", sentence));
    }
    before = bytes;
    cancel = clock.after(SLOWEST_PERIOD_MS, look);
  };
  let cancel = clock.after(SLOWEST_PERIOD_MS, look);
  const ended = AbortSignal.any([signal, slow.signal]);
  async function* counted(): AsyncIterable<Buffer> {
    const chunks = body[Symbol.asyncIterator]();
    for (;;) {
      // The client's next bytes may never come.
      const { value, done } = await raceAbort(chunks.next(), ended);
      if (done === true) return;
      bytes += value.length;
      if (bytes > maxBytes) throw new Fault("PACKAGE_TOO_LARGE", `The package is larger than ${maxBytes} bytes.`);
      yield value;
    }
  }
  try {
    await pipeline(counted(), createWriteStream(to, { flags: "wx" }), { signal: ended });
  } catch (error) {
    if (slow.signal.aborted) throw slow.signal.reason;
    throw storeFault(error, to);
  } finally {
    cancel();
  }
}

export type ZipLimits = {
  entries: number;
  /** Of all entries together. */
  inflatedBytes: number;
};

/** Generous for a package with its build output and a model file or two. Each file that is unpacked is flushed to the disk: 50,000 empty ones took minutes. */
export const ZIP_LIMITS: ZipLimits = { entries: 10_000, inflatedBytes: 2 * 1024 ** 3 };
/** Text and tables become 3 to 30 times as large; ZIP's deflate ends at 1,032. */
const MAX_RATIO = 200;
/** Small files of one repeated letter do no harm. */
const RATIO_FROM_BYTES = 16 * 1024 ** 2;

/**
 * Unpacks the files whose path `wanted` accepts below `into`, flushed to the disk, and returns their paths. Entries that are not wanted
 * are judged by their names and sizes, but never inflated. What an archive claims about sizes is checked against what comes out.
 * When it fails, `into` is left as far as it came: the caller made it and removes it.
 * Faults: PACKAGE_INVALID, PACKAGE_TOO_LARGE, STORE_FULL, STORE_READ_ONLY.
 */
export async function unpackZip(options: {
  zip: string;
  into: string;
  wanted: (path: string) => boolean;
  limits: ZipLimits;
  signal: AbortSignal;
}): Promise<string[]> {
  let archive: ZipFile | undefined;
  try {
    archive = await openPromise(options.zip, { autoClose: false, strictFileNames: true });
    if (archive.entryCount > options.limits.entries) {
      throw new Fault("PACKAGE_TOO_LARGE", `The package holds ${archive.entryCount} entries; ${options.limits.entries} are allowed.`);
    }
    return await unpack(archive, options);
  } catch (error) {
    options.signal.throwIfAborted();
    throw asZipFault(error, options.into);
  } finally {
    archive?.close();
  }
}

async function unpack(archive: ZipFile, options: Parameters<typeof unpackZip>[0]): Promise<string[]> {
  const { limits } = options;
  const files = new Set<string>();
  let declared = 0;
  for await (const entry of archive.eachEntry()) {
    options.signal.throwIfAborted();
    const kind = judgeEntry(entry);
    declared += entry.uncompressedSize;
    if (declared > limits.inflatedBytes) {
      throw new Fault("PACKAGE_TOO_LARGE", `The package is larger than ${limits.inflatedBytes} bytes when unpacked.`);
    }
    if (entry.uncompressedSize > RATIO_FROM_BYTES && entry.uncompressedSize > MAX_RATIO * entry.compressedSize) {
      throw new Fault(
        "PACKAGE_TOO_LARGE",
        `The package holds ${JSON.stringify(entry.fileName.slice(0, 200))}, which becomes more than ${MAX_RATIO} times as large.`,
      );
    }
    if (kind === "folder" || !options.wanted(entry.fileName)) continue;
    if (files.has(entry.fileName)) throw new Fault("PACKAGE_INVALID", `The package holds ${JSON.stringify(entry.fileName)} twice.`);
    files.add(entry.fileName);
    await unpackFile(archive, entry, join(options.into, entry.fileName), options.signal);
  }
  return [...files];
}

/** yauzl ends the stream with an error as soon as an entry is larger than in its directory, so `declared` bounds it. */
async function unpackFile(archive: ZipFile, entry: Entry, to: string, signal: AbortSignal): Promise<void> {
  let checksum = 0;
  const check = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      checksum = crc32(chunk, checksum);
      done(null, chunk);
    },
    flush(done) {
      done(checksum === entry.crc32 ? null : new Fault("PACKAGE_INVALID", `The package is damaged at ${JSON.stringify(entry.fileName)}.`));
    },
  });
  await mkdir(dirname(to), { recursive: true });
  await pipeline(await archive.openReadStreamPromise(entry), check, createWriteStream(to, { flags: "wx", mode: fileMode(entry), flush: true }), {
    signal,
  });
}

/** A file where a folder is needed, or the other way round: the archive contradicts itself. */
const CONTRADICTIONS = new Set(["EEXIST", "ENOTDIR", "EISDIR"]);

function asZipFault(error: unknown, folder: string): unknown {
  if (error instanceof Fault) return error;
  const fault = storeFault(error, folder);
  if (fault instanceof Fault) return fault;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (CONTRADICTIONS.has(code)) return new Fault("PACKAGE_INVALID", "The package holds a file and a folder of the same name.", { cause: error });
  if (code.startsWith("E") && !code.startsWith("ERR_")) return error;
  // What is left comes from the reader or from zlib, and names what is wrong with the archive.
  const why = error instanceof Error ? error.message : String(error);
  return new Fault("PACKAGE_INVALID", `The package is not a readable ZIP: ${why.replace(/\.$/, "")}.`, { cause: error });
}

/** What an entry may be, judged from the archive's directory alone, before a byte of it is inflated. */
export type EntryKind = "file" | "folder";

const LONGEST_PATH = 1_024;
const LONGEST_NAME = 255;
/** Folders are made one by one, each below the one before. */
const MAX_DEPTH = 32;
/** The type bits of a Unix mode. Archives that were not made on Unix say 0. */
const FILE_TYPES: Readonly<Record<number, EntryKind>> = { 0: "file", 0o100000: "file", 0o040000: "folder" };

/** Faults: PACKAGE_INVALID for a link or a device, an encrypted entry, and a name that does not stay below the folder it is unpacked in. */
function judgeEntry(entry: Entry): EntryKind {
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
function fileMode(entry: Entry): number {
  return (unixMode(entry) & 0o111) === 0 ? 0o644 : 0o755;
}

function unixMode(entry: Entry): number {
  return entry.externalFileAttributes >>> 16;
}
