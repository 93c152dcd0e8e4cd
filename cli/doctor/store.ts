import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { newestBackup } from "../../control/store/backup.ts";
import { readRollback, ROLLBACK_FILE } from "../../control/store/rollback-note.ts";
import type { Chain } from "./check.ts";
import { type Finding, type Problem, wrong } from "./finding.ts";

const execute = promisify(execFile);

/** Whether the store lost changes, and with `--store` whether SQLite finds damage in it. */
export async function checkStore({ here, settings, asked }: Chain, signal: AbortSignal): Promise<Finding> {
  const folder = resolve(settings.data);
  if (!existsSync(join(folder, "berth.db"))) return { unlooked: `there is no store in ${folder}` };
  const problems: Problem[] = [];
  const rollback = readRollback(folder);
  if (rollback !== undefined)
    problems.push(
      wrong(
        `The store lost changes: on ${new Date(rollback.at).toISOString()} a gateway had seen revision ${rollback.seen}, and the store was at ${rollback.found}.`,
        `Its log was cut, or an old backup restored: see that containers are as they should be (\`berth orphans\`), then remove ${join(folder, ROLLBACK_FILE)}.`,
      ),
    );
  if (!asked.store) {
    const says = "structure checked at berth's last start; --store checks all that SQLite can";
    return problems.length === 0 ? { unlooked: says } : { says, problems };
  }
  const words = [...(here.script === undefined ? [] : [here.script]), "check-store"];
  const { stdout } = await execute(process.execPath, words, { env: here.env, signal, killSignal: "SIGKILL" });
  const damage = JSON.parse(stdout) as string[];
  const backup = newestBackup(folder);
  if (damage.length > 0)
    problems.push(
      wrong(
        `The store is damaged: ${damage.join("; ")}.`,
        backup === undefined
          ? "Restore a backup: docs/install.md. No backup is known here."
          : `Stop berth, then \`berth restore ${backup}\`, the newest backup that is known here.`,
      ),
    );
  return { says: damage.length === 0 ? "integrity_check found nothing" : "damaged", problems };
}
