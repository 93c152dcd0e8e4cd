import { createHash, randomUUID } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";
import { makeFolder } from "../../../lib/make-folder.ts";
import { digestOf } from "../../../lib/registry-client/digest.ts";

/** What a tag pointed to when the upstream was last queried, at `checkedAt` in epoch ms. */
export type CachedTag = { digest: string; checkedAt: number };
export type CachedManifest = { digest: string; type: string; body: Buffer };

/**
 * The content of the cache in a folder: blobs and manifests by digest, tags by name. Every file is written beside its place and renamed, so several
 * processes may share the folder, and a crash leaves no half of one. The time of a file is that of its last use.
 */
export type CacheStore = {
  tag(name: string): Promise<CachedTag | undefined>;
  putTag(name: string, tag: CachedTag): Promise<void>;
  removeTag(name: string): Promise<void>;
  manifest(digest: string): Promise<CachedManifest | undefined>;
  putManifest(manifest: CachedManifest): Promise<void>;
  /** The file of a blob and its size; undefined if it is not stored. */
  blob(digest: string): Promise<{ file: string; size: number } | undefined>;
  /** A file to write a blob to, and to read it from meanwhile. */
  draft(): Promise<{ file: string; handle: FileHandle }>;
  /**
   * Space for `size` bytes of a draft in all, within the size limit, until it is kept or discarded. What was not used for longest is removed for it. Faults:
   * REGISTRY_REFUSED for a blob that is too large for this cache, REGISTRY_UNREACHABLE while others arrive.
   */
  reserve(file: string, size: number): Promise<void>;
  /** Moves a complete draft to its place. Removes what was not used for longest, if the cache is then too large. */
  keep(file: string, digest: string, size: number): Promise<void>;
  discard(file: string): Promise<void>;
  /** Bytes of the content and of the drafts of other processes, as of the last look. */
  bytes(): number;
  /** Removes what was not used in time, and beyond the size limit what was not used for longest. */
  clean(): Promise<void>;
  close(): Promise<void>;
};

const CLEAN_MS = 3_600_000;
/** A draft without a write for so long is of a process that died: a download ends after 30 s without a byte. */
const LEFT_MS = 3_600_000;
/** The time of a file is not renewed more often. */
const USED_MS = 600_000;
/** Cleaning leaves some space, so that not every new layer begins another one. */
const LEFT_FULL = 0.9;
/** The part of the size limit that one blob may have. */
const LARGEST_PART = 0.5;

export async function openCacheStore(options: { folder: string; maxBytes: number; unusedMs: number; clock: Clock; log: Log }): Promise<CacheStore> {
  const { folder, maxBytes, unusedMs, clock, log } = options;
  const drafts = join(folder, "drafts");
  makeFolder(drafts);
  let bytes = 0;
  /** Of all that was stored since the start. */
  let storedBytes = 0;
  const addBytes = (size: number) => {
    bytes += size;
    storedBytes += size;
  };
  const reserved = new Map<string, number>();
  const reservedBytes = () => [...reserved.values()].reduce((sum, size) => sum + size, 0);
  let cleaning: Promise<void> | undefined;
  let cancel: (() => void) | undefined;
  let isClosed = false;

  const fileOf = (kind: "blobs" | "manifests", digest: string) => {
    const [algorithm = "", hex = ""] = digest.split(":");
    return join(folder, kind, algorithm, hex.slice(0, 2), hex);
  };
  const tagFile = (name: string) => {
    const hex = createHash("sha256").update(name).digest("hex");
    return join(folder, "tags", hex.slice(0, 2), hex);
  };
  const put = async (file: string, content: string | Buffer) => {
    const draft = join(drafts, randomUUID());
    await writeFile(draft, content, { mode: 0o600 });
    await moveTo(draft, file);
    addBytes(content.length);
  };
  const moveTo = async (draft: string, file: string) => {
    const handle = await open(draft);
    // A name after a power failure must not lead to half of the content.
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const now = clock.now() / 1_000;
    await utimes(draft, now, now);
    await rename(draft, file);
  };
  const used = (file: string, mtimeMs: number) => {
    const now = clock.now();
    // Another process may have removed it.
    if (now - mtimeMs > USED_MS) utimes(file, now / 1_000, now / 1_000).catch(() => undefined);
  };
  const read = async (file: string): Promise<Buffer | undefined> => {
    const content = await readFile(file).catch(unlessMissing);
    if (content !== undefined) used(file, (await stat(file).catch(unlessMissing))?.mtimeMs ?? clock.now());
    return content;
  };

  const clean = async () => {
    const now = clock.now();
    const storedBefore = storedBytes;
    // What other processes load, or left when they died, takes space too. Own drafts are reserved.
    let others = 0;
    for (const draft of await filesIn(drafts)) {
      if (now - draft.usedAt > LEFT_MS) await rm(draft.file, { force: true });
      else if (!reserved.has(draft.file)) others += draft.size;
    }
    const files = (await Promise.all(["blobs", "manifests", "tags"].map((kind) => filesIn(join(folder, kind))))).flat();
    files.sort((one, other) => one.usedAt - other.usedAt);
    let left = files.reduce((sum, { size }) => sum + size, others);
    const arriving = reservedBytes();
    const isFull = left + arriving > maxBytes;
    let removed = 0;
    for (const { file, size, usedAt } of files) {
      const isOverdue = now - usedAt > unusedMs;
      if (!isOverdue && !(isFull && left + arriving > maxBytes * LEFT_FULL)) break;
      await rm(file, { force: true });
      left -= size;
      removed++;
    }
    // What was stored meanwhile may not have been listed. Counted twice, it is counted right the next time.
    bytes = left + storedBytes - storedBefore;
    if (removed > 0) log.info({ removed, bytes: left }, "registry cache cleaned");
  };
  const cleanOnce = () =>
    (cleaning ??= clean()
      .catch((err: unknown) => log.error({ err, folder }, "registry cache cannot be cleaned"))
      .finally(() => (cleaning = undefined)));
  const cleanIfFull = async () => {
    const isFull = () => bytes + reservedBytes() > maxBytes;
    if (!isFull()) return;
    // One that runs may have counted before.
    await cleaning;
    if (isFull()) await cleanOnce();
  };
  const schedule = () => {
    if (isClosed) return;
    cancel = clock.after(CLEAN_MS, () => void cleanOnce().then(schedule));
  };
  void cleanOnce().then(schedule);

  return {
    tag: async (name) => parseTag(await read(tagFile(name)), name),
    putTag: async (name, tag) => put(tagFile(name), JSON.stringify({ name, ...tag })),
    removeTag: async (name) => rm(tagFile(name), { force: true }),
    manifest: async (digest) => {
      const content = await read(fileOf("manifests", digest));
      if (content === undefined) return undefined;
      const end = content.indexOf("\n");
      const body = content.subarray(end + 1);
      return digestOf(body, digest) === digest ? { digest, type: content.toString("latin1", 0, end), body } : undefined;
    },
    putManifest: async ({ digest, type, body }) => put(fileOf("manifests", digest), Buffer.concat([Buffer.from(`${type}\n`, "latin1"), body])),
    blob: async (digest) => {
      const file = fileOf("blobs", digest);
      const stats = await stat(file).catch(unlessMissing);
      if (stats === undefined) return undefined;
      used(file, stats.mtimeMs);
      return { file, size: stats.size };
    },
    draft: async () => {
      const file = join(drafts, randomUUID());
      await mkdir(drafts, { recursive: true, mode: 0o700 });
      return { file, handle: await open(file, "wx+", 0o600) };
    },
    reserve: async (file, size) => {
      if (size > maxBytes * LARGEST_PART)
        throw new Fault(
          "REGISTRY_REFUSED",
          `A layer has ${size} bytes, and the cache takes layers of at most half of BERTH_REGISTRY_CACHE_MAX_GB (${maxBytes} bytes): raise it.`,
        );
      const before = reserved.get(file) ?? 0;
      if (reservedBytes() - before + size > maxBytes)
        throw new Fault(
          "REGISTRY_UNREACHABLE",
          "The layers that arrive at this moment fill the cache: try again later, or raise BERTH_REGISTRY_CACHE_MAX_GB.",
        );
      reserved.set(file, size);
      await cleanIfFull();
    },
    keep: async (draft, digest, size) => {
      await moveTo(draft, fileOf("blobs", digest));
      reserved.delete(draft);
      addBytes(size);
      void cleanIfFull();
    },
    discard: async (file) => {
      await rm(file, { force: true });
      reserved.delete(file);
    },
    bytes: () => bytes,
    clean: () => cleanOnce(),
    close: async () => {
      isClosed = true;
      cancel?.();
      await cleaning;
    },
  };
}

type StoredFile = { file: string; size: number; usedAt: number };

/** A file that vanishes meanwhile is left out: another process may clean too. */
async function filesIn(folder: string): Promise<StoredFile[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(unlessMissing);
  const files: StoredFile[] = [];
  for (const entry of entries ?? []) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    const stats = await stat(file).catch(unlessMissing);
    if (stats) files.push({ file, size: stats.size, usedAt: stats.mtimeMs });
  }
  return files;
}

function parseTag(content: Buffer | undefined, name: string): CachedTag | undefined {
  if (content === undefined) return undefined;
  try {
    const { name: stored, digest, checkedAt } = JSON.parse(content.toString("utf8")) as CachedTag & { name: string };
    return stored === name ? { digest, checkedAt } : undefined;
  } catch {
    return undefined;
  }
}

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
  throw error;
}
