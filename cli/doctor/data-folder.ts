import { existsSync, statSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { resolve } from "node:path";
import { newestBackup } from "../../control/store/backup.ts";
import type { Chain } from "./check.ts";
import { type Finding, type Problem, warning, wrong } from "./finding.ts";

const MB = 1_048_576;
/** Below the first the next package may not fit any more; the second is some days' notice. */
const LEAST_MB = 200;
const FEW_MB = 1_024;
const DAY_MS = 86_400_000;
const OLD_DAYS = 7;

/** Room for the store and for published files. */
export async function checkDisk({ settings }: Chain): Promise<Finding> {
  const folder = resolve(settings.data);
  if (!existsSync(folder)) return { unlooked: `there is no ${folder} here` };
  const { bavail, bsize } = await statfs(folder);
  const freeMb = Math.floor((bavail * bsize) / MB);
  const what = `${folder} has ${freeMb} MB left.`;
  const todo = "Make room there, or move the data folder to a larger disk.";
  const problems: Problem[] = freeMb < LEAST_MB ? [wrong(what, todo)] : freeMb < FEW_MB ? [warning(what, todo)] : [];
  return { says: `${(freeMb / 1_024).toFixed(1)} GB free in ${folder}`, problems };
}

/** How much would be lost with the store. */
export async function checkBackup({ settings, clock }: Chain): Promise<Finding> {
  const folder = resolve(settings.data);
  if (!existsSync(folder)) return { unlooked: `there is no ${folder} here` };
  const newest = newestBackup(folder);
  const todo = "Run `berth backup <file>`, best by a timer, and keep the file elsewhere.";
  if (newest === undefined) return { says: "none is known", problems: [warning("No backup of the store is known here.", todo)] };
  const days = Math.floor((clock.now() - statSync(newest).mtimeMs) / DAY_MS);
  const problems = days > OLD_DAYS ? [warning(`The newest backup, ${newest}, is ${days} days old.`, todo)] : [];
  return { says: `the newest is of ${days} days ago`, problems };
}
