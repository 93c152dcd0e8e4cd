import { readFileSync, statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "../../lib/replace-file.ts";
import { LOCK_FILE } from "../store/data-folder.ts";

/** Below the data folder: the process that led last with this folder. */
const HOLDER_FILE = "leader.json";
const BOOT_ID = "/proc/sys/kernel/random/boot_id";

/**
 * File systems of this machine only, by `f_type` of statfs(2): ext, XFS, Btrfs, tmpfs, ZFS. Elsewhere a lock may be lost while its process lives, as with NFS,
 * or not exclude a process on another machine.
 */
const LOCAL_FILE_SYSTEMS: ReadonlySet<number> = new Set([0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x2fc12fc1]);

/** A lock file of one machine since its last boot: a copy of the folder has another one. */
type LockIdentity = { boot: string; device: number; inode: number };

/** Notes which process leads. To be called while it holds the folder's lock, before it acts. */
export function noteHolder(folder: string, holder: string): void {
  replaceFile(join(folder, HOLDER_FILE), `${JSON.stringify({ holder, ...lockIdentity(folder) })}\n`, { mode: 0o600 });
}

/**
 * The id of the process that led last with this folder, which has ended; undefined where that is not certain. To be called while this process holds the
 * folder's lock: the other one held it for as long as it led, and the kernel gives it to one process at a time.
 */
export function endedHolder(folder: string): string | undefined {
  try {
    if (!LOCAL_FILE_SYSTEMS.has(statfsSync(folder).type)) return undefined;
    const noted = JSON.parse(readFileSync(join(folder, HOLDER_FILE), "utf8")) as LockIdentity & { holder?: unknown };
    const { boot, device, inode } = lockIdentity(folder);
    const isSameLock = noted.boot === boot && noted.device === device && noted.inode === inode;
    return isSameLock && typeof noted.holder === "string" ? noted.holder : undefined;
  } catch {
    // It never led, or this is no Linux: its lease ends by itself.
    return undefined;
  }
}

function lockIdentity(folder: string): LockIdentity {
  const { dev: device, ino: inode } = statSync(join(folder, LOCK_FILE));
  return { boot: readFileSync(BOOT_ID, "utf8").trim(), device, inode };
}
