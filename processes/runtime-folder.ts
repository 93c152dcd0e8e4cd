import { createHash } from "node:crypto";
import { existsSync, lstatSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Fault } from "../lib/fault.ts";
import { makeFolder } from "../lib/make-folder.ts";

export type RuntimeFolder = {
  apiSocket: string;
  feedSocket: string;
  /** Where berth's own registry answers, and where it takes what an operator wants of it. */
  registrySocket: string;
  registryAdminSocket: string;
  /** Where the first process takes what `berth upgrade` wants of it. */
  parentSocket: string;
};

const PARENT_SOCKET = "parent.sock";
const API_SOCKET = "api.sock";

/** What decides where the runtime folder of a berth is. */
type RuntimePlace = { data: string; base: string; uid: number };

/** Of the berth of `uid`, or of this process's user, on a data folder. */
export function runtimePlace(env: NodeJS.ProcessEnv, data: string, uid = process.getuid?.() ?? 0): RuntimePlace {
  return { data, base: env["XDG_RUNTIME_DIR"] ?? tmpdir(), uid };
}

/** The runtime folder of another user's berth; nothing is made, and nothing may be there. */
export function parentSocketOf(options: RuntimePlace): string {
  return join(runtimeFolderOf(options), PARENT_SOCKET);
}

/** Whether a control process has its socket there, or had. Nothing is made. */
export function hasApiSocket(options: RuntimePlace): boolean {
  return existsSync(join(runtimeFolderOf(options), API_SOCKET));
}

function runtimeFolderOf(options: RuntimePlace): string {
  const name = createHash("sha256").update(resolve(options.data)).digest("hex").slice(0, 12);
  return join(options.base, `berth-${options.uid}-${name}`);
}

/**
 * The folder of the Unix sockets between the processes of one berth: short, since a socket's path may have 107 bytes only;
 * named by the data folder, so that all processes of one berth find it; for this user only.
 */
export function openRuntimeFolder(options: RuntimePlace): RuntimeFolder {
  const folder = runtimeFolderOf(options);
  makeFolder(folder);
  const stats = lstatSync(folder);
  // In a folder that all users can write to, another user may have made it first.
  if (!stats.isDirectory() || stats.uid !== options.uid || (stats.mode & 0o077) !== 0) {
    throw new Fault("DATA_FOLDER_UNUSABLE", `The runtime folder ${folder} must be a folder of this user alone (mode 0700).`);
  }
  return {
    apiSocket: join(folder, API_SOCKET),
    feedSocket: join(folder, "feed.sock"),
    registrySocket: join(folder, "registry.sock"),
    registryAdminSocket: join(folder, "registry-admin.sock"),
    parentSocket: join(folder, PARENT_SOCKET),
  };
}
