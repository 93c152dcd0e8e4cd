/** The files that come with berth: those of the source tree, or those that its single executable carries. */
import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { getAsset, getAssetKeys, getRawAsset, isSea } from "node:sea";
import { Fault } from "./fault.ts";
import { makeFolder } from "./make-folder.ts";
import { replaceFile } from "./replace-file.ts";

/** How the single executable and the npm package describe themselves. */
export const BUILD_FILE = "build.json";

/** The root of the source tree; in the single executable, where files have no place of their own, it is never read. */
const SOURCE = join(import.meta.dirname ?? "", "..");

/** Each throws if it is not available: some users have no home, or a read-only one. */
const FOLDERS: readonly { name: string; find(): string }[] = [
  // Systemd makes it for the unit that `berth install` writes.
  { name: "/var/cache/berth", find: () => "/var/cache/berth" },
  { name: "~/.cache/berth", find: () => made(join(homedir(), ".cache/berth")) },
  { name: "the folder of temporary files", find: () => made(join(tmpdir(), `berth-${process.getuid?.()}-files`)) },
];

/** The path of a file that comes with berth; `path` begins at the root of the source tree. Faults: PROGRAM_UNUSABLE. */
export function ownFile(path: string): string {
  return join(isSea() ? unpacked() : SOURCE, path);
}

/** The text of a file that comes with berth. Unlike `ownFile` it needs no folder for unpacked files. */
export function ownText(path: string): string {
  return isSea() ? getAsset(path, "utf8") : readFileSync(join(SOURCE, path), "utf8");
}

/** A program that runs JavaScript as `node` does. The single executable runs its own Node. Faults: PROGRAM_UNUSABLE. */
export function nodeProgram(): string {
  return isSea() ? join(unpacked(), "node") : process.execPath;
}

/** Undefined for berth from its source tree, which has no such file. */
export function ownBuild(): { commit: string; built: string; bundle: string } | undefined {
  if (!isSea() && !existsSync(join(SOURCE, BUILD_FILE))) return undefined;
  return JSON.parse(ownText(BUILD_FILE)) as { commit: string; built: string; bundle: string };
}

/**
 * Files that are loaded by path. They are in a folder of this user alone, named by the build. An incomplete file is written again; several processes may
 * do so at once. The first available folder counts.
 */
function unpacked(): string {
  const tried: string[] = [];
  for (const { name, find } of FOLDERS) {
    try {
      const base = find();
      const folder = lstatSync(base);
      if (!folder.isDirectory() || folder.uid !== process.getuid?.() || (folder.mode & 0o022) !== 0)
        throw new Error("it is not a folder that only this user can write to");
      return unpackInto(base);
    } catch (error) {
      tried.push(`${name} (${(error as NodeJS.ErrnoException).code ?? (error as Error).message})`);
    }
  }
  throw new Fault("PROGRAM_UNUSABLE", `berth finds no folder for the files that it brings, tried were ${tried.join(", ")}: give its user a home.`);
}

function made(folder: string): string {
  makeFolder(folder);
  return folder;
}

function unpackInto(base: string): string {
  const build = createHash("sha256").update(getAsset(BUILD_FILE, "utf8")).update(process.execPath).digest("hex").slice(0, 16);
  const folder = join(base, build);
  for (const key of getAssetKeys()) write(join(folder, key), new Uint8Array(getRawAsset(key)), 0o600);
  // A path may hold anything but a quote that is not written out.
  const self = process.execPath.replaceAll("'", `'\\''`);
  write(join(folder, "node"), Buffer.from(`#!/bin/sh\nexec '${self}' node "$@"\n`), 0o700);
  return folder;
}

/** Not flushed to the disk: a file that a power failure cut short has another size, and is written again. */
function write(path: string, bytes: Uint8Array, mode: number): void {
  if (statSync(path, { throwIfNoEntry: false })?.size === bytes.byteLength) return;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  replaceFile(path, bytes, { mode, isDurable: false });
}
