import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Clock } from "../../../lib/clock.ts";
import type { Log } from "../../../lib/log.ts";
import { makeFolder } from "../../../lib/make-folder.ts";
import { replaceFileInBackground } from "../../../lib/replace-file.ts";

/**
 * The file from which other programs, such as OpenResty's Lua, read berth's credentials for the backing registry.
 *
 * It has a line for each credential, with three parts that are separated by one space:
 *
 *     <scope> <expires> <value of the Authorization header>
 *
 * `scope` is `*` for a credential for every repository (ECR), else the scopes of the registry's own token, such as `repository:datagrok/x:pull`
 * (several are joined by commas). `expires` is in whole seconds since 1970. In
 * Lua: `for line in io.lines(path) do local scope, expires, value = line:match("^(%S+) (%d+) (.+)$") … end`. A rename replaces
 * the file as a whole; read it again for each use, or once a minute. Its mode is 0600: its readers run as the same user, or as root. The next write
 * removes expired lines. Of a registry's own tokens it has those that the registry accepted. Beyond a hundred lines, tokens that only pull are removed
 * first: any client can cause those.
 */
export type TokenFile = {
  /** Never fails. The log has a failed write, once for each reason. */
  keep(scope: string, authorization: string, lifeMs: number): void;
  /** Resolves when every line is written. */
  close(): Promise<void>;
};

const MOST_LINES = 100;
const LINE = /^(\S+) (\d+) (.+)$/;
const ONLY_PULLS = /^(?:[^,]+:pull(?:,|$))+$/;

export function openTokenFile(path: string, { clock, log }: { clock: Clock; log: Log }): TokenFile {
  const waiting = new Map<string, { expires: number; value: string }>();
  let writing: Promise<void> | undefined;
  let lastReason: string | undefined;

  const writeAll = async () => {
    while (waiting.size > 0) {
      const lines = await readLines();
      for (const [scope, line] of waiting) {
        lines.delete(scope);
        lines.set(scope, line);
      }
      waiting.clear();
      const now = clock.now() / 1_000;
      const lasting = [...lines].filter(([, { expires }]) => expires > now);
      const kept = lasting.toSorted(([one], [other]) => Number(ONLY_PULLS.test(other)) - Number(ONLY_PULLS.test(one))).slice(-MOST_LINES);
      makeFolder(dirname(path));
      await replaceFileInBackground(path, kept.map(([scope, { expires, value }]) => `${scope} ${expires} ${value}\n`).join(""), { mode: 0o600 });
    }
  };

  /** Other processes of the same berth write the file too. */
  const readLines = async () => {
    const text = await readFile(path, "utf8").catch(() => "");
    const lines = text.split("\n").flatMap((line) => {
      const [, scope = "", expires = "", value = ""] = LINE.exec(line) ?? [];
      return scope === "" ? [] : [[scope, { expires: Number(expires), value }] as const];
    });
    return new Map(lines);
  };

  return {
    keep: (scope, authorization, lifeMs) => {
      waiting.set(scope === "" ? "-" : scope.replaceAll(" ", ","), { expires: Math.floor((clock.now() + lifeMs) / 1_000), value: authorization });
      writing ??= writeAll()
        .then(() => (lastReason = undefined))
        .catch((error: unknown) => {
          waiting.clear();
          const reason = (error as NodeJS.ErrnoException).code ?? String(error);
          if (reason !== lastReason) log.warn({ path, reason }, "writing the registry's token file failed: its readers have no new token");
          lastReason = reason;
        })
        .then(() => (writing = undefined));
    },
    close: async () => writing,
  };
}
