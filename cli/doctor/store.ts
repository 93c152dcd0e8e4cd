import { execFile } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { newestBackup } from "../../control/store/backup.ts";
import { readRollback, ROLLBACK_FILE } from "../../control/store/data-folder.ts";
import { type CheckContext, type CheckResult, type CheckProblem, failure, warning } from "./check.ts";
import { statfs } from "node:fs/promises";

const execute = promisify(execFile);

/** Whether the store lost changes; with `--store`, whether SQLite finds damage. */
export async function checkStore({ context, settings, options }: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const folder = resolve(settings.data);
  if (!existsSync(join(folder, "berth.db"))) return { unlooked: `there is no store in ${folder}` };
  const problems: CheckProblem[] = [];
  const rollback = readRollback(folder);
  if (rollback !== undefined)
    problems.push(
      failure(
        `The store lost changes: on ${new Date(rollback.at).toISOString()} a gateway had revision ${rollback.seen}, but the store had ${rollback.found}.`,
        `Its log was cut, or an old backup was restored. Check the containers (\`berth orphans\`), then remove ${join(folder, ROLLBACK_FILE)}.`,
      ),
    );
  if (!options.store) {
    const says = "structure checked at berth's last start; --store checks everything";
    return problems.length === 0 ? { unlooked: says } : { says, problems };
  }
  const words = [...(context.script === undefined ? [] : [context.script]), "check-store"];
  const { stdout } = await execute(process.execPath, words, { env: context.env, signal, killSignal: "SIGKILL" });
  const damage = JSON.parse(stdout) as string[];
  const backup = newestBackup(folder);
  if (damage.length > 0)
    problems.push(
      failure(
        `The store is damaged: ${damage.join("; ")}.`,
        backup === undefined
          ? "Restore a backup: docs/install.md. berth knows no backup here."
          : `Stop berth, then \`berth restore ${backup}\`, the newest backup that berth knows.`,
      ),
    );
  return { says: damage.length === 0 ? "integrity_check found nothing" : "damaged", problems };
}

const MB = 1_048_576;
/** Below LEAST_MB the next package may not fit; FEW_MB gives some days' notice. */
const LEAST_MB = 200;
const FEW_MB = 1_024;
const DAY_MS = 86_400_000;
const OLD_DAYS = 7;

/** Free disk space for the store and for published files. */
export async function checkDisk({ settings }: CheckContext): Promise<CheckResult> {
  const folder = resolve(settings.data);
  if (!existsSync(folder)) return { unlooked: `there is no ${folder} here` };
  const { bavail, bsize } = await statfs(folder);
  const freeMb = Math.floor((bavail * bsize) / MB);
  const what = `${folder} has ${freeMb} MB left.`;
  const todo = "Free space there, or move the data folder to a larger disk.";
  const problems: CheckProblem[] = freeMb < LEAST_MB ? [failure(what, todo)] : freeMb < FEW_MB ? [warning(what, todo)] : [];
  return { says: `${(freeMb / 1_024).toFixed(1)} GB free in ${folder}`, problems };
}

/** The age of the newest backup. */
export async function checkBackup({ settings, clock }: CheckContext): Promise<CheckResult> {
  const folder = resolve(settings.data);
  if (!existsSync(folder)) return { unlooked: `there is no ${folder} here` };
  const newest = newestBackup(folder);
  const todo = "Run `berth backup <file>` by a timer, and keep the file elsewhere.";
  if (newest === undefined) return { says: "no backup", problems: [warning("berth knows no backup of the store.", todo)] };
  const days = Math.floor((clock.now() - statSync(newest).mtimeMs) / DAY_MS);
  const problems = days > OLD_DAYS ? [warning(`The newest backup, ${newest}, is ${days} days old.`, todo)] : [];
  return { says: `the newest is of ${days} days ago`, problems };
}
