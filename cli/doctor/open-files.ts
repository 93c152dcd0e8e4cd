import { tmpdir } from "node:os";
import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { FEW_DESCRIPTORS } from "../../lib/connection-limits.ts";
import { parentSocketOf } from "../../processes/runtime-folder.ts";
import { askParentLimits } from "../install/ask-parent.ts";
import type { Chain } from "./check.ts";
import { type Finding, warning } from "./finding.ts";

/** The limit of open files of the berth that runs on this data folder: this command's own is that of its shell. */
export async function checkOpenFiles({ here, settings }: Chain): Promise<Finding> {
  const data = resolve(settings.data);
  if (!existsSync(data)) return { unlooked: `there is no ${data} here` };
  // Root may look at the berth of another user.
  const path = parentSocketOf({ data, base: here.env["XDG_RUNTIME_DIR"] ?? tmpdir(), uid: statSync(data).uid });
  const limits = await askParentLimits(path);
  if (limits?.pid === undefined) return { unlooked: `no \`berth serve\` of this version runs on ${data}` };
  const { pid, openFiles } = limits;
  if (openFiles === undefined) return { says: "no limit is known" };
  const problems =
    openFiles >= FEW_DESCRIPTORS
      ? []
      : [
          warning(
            `berth (process ${pid}) may open ${openFiles} files: each call takes two, so ${FEW_DESCRIPTORS} are the least that is recommended.`,
            "Raise the limit and restart berth: LimitNOFILE in the unit, ulimits in Compose, or `ulimit -Hn` before its start.",
          ),
        ];
  return { says: `${openFiles} for process ${pid}`, problems };
}
