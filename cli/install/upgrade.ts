import { execFile, execFileSync } from "node:child_process";
import { chownSync, existsSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import type { Settings } from "../../conf/settings.ts";
import { backUp } from "../../control/store/backup.ts";
import { Fault } from "../../lib/fault.ts";
import { type CommandContext, loadSettings } from "../command-context.ts";
import { parentSocketOf } from "../../processes/runtime-folder.ts";
import { callParent } from "./ask-parent.ts";
import { INSTALL_PATHS, UNIT_NAME } from "./install.ts";
import { VERSION } from "../version.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { placeFile } from "./place-file.ts";

const VERSION_MS = 15_000;
const RESTORE_MS = 600_000;
const RESTORE_TRIES = 10;
const RESTORE_RETRY_MS = 700;
/** Beyond what open requests may take. */
const RESTART_MS = 120_000;
/** Until it answers, from when it was started. */
const ANSWERS_MS = 30_000;
const POLL_MS = 100;
const RUNNING_MS = 20_000;

const execute = promisify(execFile);

export const verbs: Verbs = {
  "": defineVerb({
    words: "",
    summary:
      "replace the installed executable, hand the listening sockets over to the new process without refusing a connection, and go back to the old one if the new one does not start",
    details: "A backup of the store comes first. The new program runs with the environment of the old one: restart berth for other settings.",
    options: {
      from: {
        value: "<file>",
        summary: "the new executable; where left out, what berth was started from was replaced already, as by `git pull`",
        completes: "files",
      },
      program: { value: "<file>", summary: `the one that is installed, where it is not ${INSTALL_PATHS.program}`, completes: "files" },
      restart: {
        value: "<command>",
        summary: `end and start berth by this command, which returns when both is done, in place of handing its listening sockets over; where no berth of this user answers, \`systemctl restart ${UNIT_NAME}\` is the default`,
      },
    },
    run: async ({ context, options: { from, program = INSTALL_PATHS.program, restart }, screen }) => {
      const { settings } = loadSettings(context);
      if (from === undefined) {
        const version = await handOverInPlace(context, settings);
        return screen.print(`berth ${version} has taken over.`);
      }
      const machine = localTarget(context, settings, resolve(program), restart);
      const { was, is, backup } = await swapProgram({ program: resolve(program), from: resolve(from), machine });
      return screen.print(
        `berth ${is} runs in the place of berth ${was}.${backup === undefined ? "" : ` The store as it was before is kept in ${backup}.`}`,
      );
    },
  }),
};

/** Of a source tree, which is replaced by other means. Faults: CONTROL_AWAY where no berth of this user runs; PROGRAM_UNUSABLE. */
async function handOverInPlace({ env, clock }: CommandContext, { data }: Settings): Promise<string> {
  const path = parentSocketOf({ data, base: env["XDG_RUNTIME_DIR"] ?? tmpdir(), uid: process.getuid?.() ?? 0 });
  const answer = await callParent({ path, clock }, "hand-over").catch(async (error: unknown) => {
    await callParent({ path, clock }, "resume");
    throw error;
  });
  if (answer?.version !== undefined) return answer.version;
  throw new Fault("CONTROL_AWAY", `No berth of this user runs on the data folder ${data}: name the new executable by --from, or start berth.`);
}

function localTarget(context: CommandContext, settings: Settings, program: string, command: string | undefined): UpgradeTarget {
  const { env, clock } = context;
  const data = resolve(settings.data);
  /** The owner of the store: root creates no file there that berth cannot read. */
  const owner = existsSync(data) ? statSync(data) : undefined;
  const asOwner = owner && process.getuid?.() === 0 ? { uid: owner.uid, gid: owner.gid } : {};
  const parentSocket = parentSocketOf({ data, base: env["XDG_RUNTIME_DIR"] ?? tmpdir(), uid: owner?.uid ?? process.getuid?.() ?? 0 });
  let isHandedOver = false;
  /** The first time the new program takes over; where that failed, the next ones have the berth that is still there go on. */
  const replace = async () => {
    const action = isHandedOver ? "resume" : "hand-over";
    if (
      command === undefined &&
      (await callParent({ path: parentSocket, clock }, action, { program }).finally(() => (isHandedOver = true))) !== undefined
    )
      return;
    const drainMs = (settings.drainSeconds + settings.drainDelaySeconds) * 1_000;
    await execute("/bin/sh", ["-c", command ?? `systemctl restart ${UNIT_NAME}`], { env, timeout: drainMs + RESTART_MS });
  };
  return {
    versionOf: (file) => {
      const output = readProgramVersion(file);
      const version = /^berth (\d\S*) /.exec(output)?.[1];
      if (version === undefined)
        throw new Fault("PROGRAM_UNUSABLE", `${file} is no berth that runs on this machine: ${output.trim().slice(0, 300) || "it says nothing"}.`);
      return version;
    },
    backUp: () => {
      if (!owner || !existsSync(join(data, "berth.db"))) return undefined;
      const at = new Date(clock.now()).toISOString().replaceAll(/[:.]/g, "-");
      const { file } = backUp({ folder: data, file: join(data, `before-upgrade-${at}.db`), version: VERSION, clock });
      if (process.getuid?.() === 0) chownSync(file, owner.uid, owner.gid);
      return file;
    },
    restart: async (version) => {
      await replace();
      const giveUpAt = clock.monotonic() + ANSWERS_MS;
      for (;;) {
        // Its sockets are its user's, and root would look for those of a berth of root's.
        const running = await execute(program, ["running"], { env, ...asOwner, timeout: RUNNING_MS }).then(
          ({ stdout }) => `berth ${stdout.trim()}`,
          (error: unknown) => (error as { stderr?: string }).stderr?.trim() || (error as Error).message,
        );
        if (running === `berth ${version}`) return;
        if (clock.monotonic() > giveUpAt) {
          throw new Fault("PROGRAM_UNUSABLE", `it did not answer within ${ANSWERS_MS / 1_000} s (${running}).`);
        }
        await clock.sleep(POLL_MS);
      }
    },
    restore: async (backup) => {
      const options = { env, ...asOwner, timeout: RESTORE_MS };
      // A service manager may be starting the old one again and again meanwhile, which has the store for a moment each time.
      for (let left = RESTORE_TRIES; ; left--) {
        const failed = await execute(program, ["restore", backup], options).then(
          () => undefined,
          (error: unknown) => error,
        );
        if (failed === undefined) return;
        if (left === 1) throw failed;
        await clock.sleep(RESTORE_RETRY_MS);
      }
    },
  };
}

function readProgramVersion(file: string): string {
  try {
    return execFileSync(file, ["version"], { env: {}, encoding: "utf8", timeout: VERSION_MS, stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    return stderr?.trim() || message;
  }
}

/** What an upgrade asks of the machine; all of it may be repeated. */
export type UpgradeTarget = {
  /** What the program at this path calls itself. Throws where it does not run here. */
  versionOf(program: string): string;
  /** A copy of the store, for the case that the new program changed it; undefined where there is no store yet. */
  backUp(): string | undefined;
  /** Ends the berth that runs, as it wants to be ended, and starts the one in `program`'s place. Resolves once that of `version` takes requests. */
  restart(version: string): Promise<void>;
  /** The store as that copy has it. */
  restore(backup: string): Promise<void>;
};

/** Beside the program: the one before it, for as long as it may be needed. */
const OLD_SUFFIX = ".before-upgrade";

/**
 * Puts `from` in the place of `program` and starts it; where that does not come to take requests, all is put back as it was: the old program, and where it
 * does not start either, since the new one changed the store, the store too. Killed in between, it may be called again.
 * Faults: PROGRAM_UNUSABLE, which says what runs now.
 */
export async function swapProgram(options: {
  program: string;
  from: string;
  machine: UpgradeTarget;
}): Promise<{ was: string; is: string; backup: string | undefined }> {
  const { program, from, machine } = options;
  if (!existsSync(program)) throw new Fault("PROGRAM_UNUSABLE", `${program} is not there: berth install puts it there.`);
  const [was, is] = [machine.versionOf(program), machine.versionOf(from)];
  const backup = machine.backUp();
  placeFile(program + OLD_SUFFIX, { copyOf: program }, 0o755);
  placeFile(program, { copyOf: from }, 0o755);
  try {
    await machine.restart(is);
    return { was, is, backup };
  } catch (error) {
    await putBack(error as Error);
    throw new Fault("PROGRAM_UNUSABLE", `berth ${is} did not start: ${sentence(error)} berth ${was} runs again, with all that was in its store.`, {
      cause: error,
    });
  }

  async function putBack(why: Error): Promise<void> {
    placeFile(program, { copyOf: program + OLD_SUFFIX }, 0o755);
    try {
      await machine.restart(was);
    } catch (first) {
      if (backup === undefined) throw lost(why, first);
      try {
        await machine.restore(backup);
        await machine.restart(was);
      } catch (second) {
        throw lost(why, second);
      }
    }
  }

  function lost(why: Error, then: unknown): Fault {
    const kept = backup === undefined ? "" : ` Its store is kept in ${backup}.`;
    return new Fault(
      "PROGRAM_UNUSABLE",
      `berth ${is} did not start: ${sentence(why)} Nor did berth ${was}, which is in ${program} again: ${sentence(then)}${kept}`,
      {
        cause: then,
      },
    );
  }
}

function sentence(error: unknown): string {
  const text = (error as Error).message.trim();
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
