import { execFile, execFileSync } from "node:child_process";
import { chownSync, existsSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import type { Settings } from "../../conf/settings.ts";
import { backUp } from "../../control/store/backup.ts";
import { lock, privateFile } from "../../control/store/data-folder.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import { requestSocket } from "../../lib/http-client.ts";
import type { ParentLimits } from "../../processes/parent-socket.ts";
import { parentSocketOf, runtimePlace } from "../../processes/runtime-folder.ts";
import { type CommandContext, loadSettings } from "../command-context.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { VERSION } from "../version.ts";
import { INSTALL_PATHS, placeFile, UNIT_NAME } from "./install.ts";

const VERSION_MS = 15_000;
const RESTORE_MS = 600_000;
const RESTORE_TRIES = 10;
const RESTORE_RETRY_MS = 700;
/** In addition to the drain time. */
const RESTART_MS = 120_000;
/** From its start until it answers. */
const ANSWERS_MS = 30_000;
const POLL_MS = 100;
const RUNNING_MS = 20_000;

const execute = promisify(execFile);

export const verbs: Verbs = {
  "": defineVerb({
    words: "",
    summary: "replace the installed executable without refusing a connection, and restore the old one if the new one does not start",
    details:
      "First it backs up the store. The new process takes over the listening sockets, and keeps the environment: restart berth for other settings.",
    options: {
      from: {
        value: "<file>",
        summary: "the new executable; without it, the program was already replaced in place, for example by `git pull`",
        completes: "files",
      },
      program: { value: "<file>", summary: `the installed executable (${INSTALL_PATHS.program})`, completes: "files" },
      restart: {
        value: "<command>",
        summary: `restart berth by this command instead of a handover; if no berth of this user answers, the default is \`systemctl restart ${UNIT_NAME}\``,
      },
    },
    run: async ({ context, options: { from, program = INSTALL_PATHS.program, restart }, screen }) => {
      const { settings } = loadSettings(context);
      if (from === undefined) {
        const version = await handOverInPlace(context, settings);
        return screen.print(`berth ${version} has taken over.`);
      }
      const data = resolve(settings.data);
      // Of another berth than the one that is to be replaced there would be neither a backup nor a handover, and none could be found again after a restart.
      if (!existsSync(data))
        throw new Fault(
          "SETTINGS_INVALID",
          `There is no data folder ${data}, so nothing was replaced: set BERTH_DATA to that of the berth to upgrade, and its other settings. Root needs no settings where ${INSTALL_PATHS.settings} has them.`,
        );
      const machine = localTarget(context, settings, resolve(program), restart);
      const unlock = lockUpgrade(data);
      const { was, is, backup } = await swapProgram({ program: resolve(program), from: resolve(from), machine }).finally(unlock);
      return screen.print(`berth ${is} runs in the place of berth ${was}.${backup === undefined ? "" : ` The previous store is in ${backup}.`}`);
    },
  }),
};

/** For a source tree that was already replaced. Faults: CONTROL_AWAY if no berth of this user runs; PROGRAM_UNUSABLE. */
async function handOverInPlace({ env, clock }: CommandContext, { data }: Settings): Promise<string> {
  const path = parentSocketOf(runtimePlace(env, data));
  const answer = await callParent({ path, clock }, "hand-over").catch(async (error: unknown) => {
    await callParent({ path, clock }, "resume");
    throw error;
  });
  if (answer?.version !== undefined) return answer.version;
  throw new Fault("CONTROL_AWAY", `No berth of this user runs on the data folder ${data}: name the new executable with --from, or start berth.`);
}

/** Below the data folder. */
const LOCK_FILE = "upgrade.lock";

/**
 * Held by this process: while the running berth hands over, it takes no other request, and a second upgrade would take it for one that does not run, and
 * restart it. Faults: PROGRAM_UNUSABLE.
 */
function lockUpgrade(data: string): () => void {
  const file = privateFile(join(data, LOCK_FILE));
  const owner = statSync(data);
  if (process.getuid?.() === 0) chownSync(file, owner.uid, owner.gid);
  try {
    return lock(file, data);
  } catch (cause) {
    if (!(cause instanceof Fault) || cause.code !== "DATA_FOLDER_IN_USE") throw cause;
    throw new Fault("PROGRAM_UNUSABLE", `Another upgrade of the berth on ${data} is under way, so nothing was replaced: wait for its end.`, {
      cause,
    });
  }
}

function localTarget(context: CommandContext, settings: Settings, program: string, command: string | undefined): UpgradeTarget {
  const { env, clock } = context;
  const data = resolve(settings.data);
  /** Files belong to the owner of the store, so that berth can read what root creates. */
  const owner = existsSync(data) ? statSync(data) : undefined;
  const asOwner = owner && process.getuid?.() === 0 ? { uid: owner.uid, gid: owner.gid } : {};
  const parentSocket = parentSocketOf(runtimePlace(env, data, owner?.uid));
  let hasTried = false;
  /** First a handover to the new program. After a failed one, the berth that still runs resumes. Returns the version that is known to take requests. */
  const replace = async (): Promise<string | undefined> => {
    const action = hasTried ? "resume" : "hand-over";
    hasTried = true;
    const reply = command === undefined ? await callParent({ path: parentSocket, clock }, action, { program }) : undefined;
    if (reply !== undefined) return reply.version;
    const drainMs = (settings.drainSeconds + settings.drainDelaySeconds) * 1_000;
    await execute("/bin/sh", ["-c", command ?? `systemctl restart ${UNIT_NAME}`], { env, timeout: drainMs + RESTART_MS });
    return undefined;
  };
  return {
    versionOf: (file) => {
      const output = readProgramVersion(file);
      const version = /^berth (\d\S*) /.exec(output)?.[1];
      if (version === undefined)
        throw new Fault("PROGRAM_UNUSABLE", `${file} is no berth that runs on this machine: ${output.trim().slice(0, 300) || "it prints nothing"}.`);
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
      // It reports what `running` may be too slow for: a restore would take its store back while it runs.
      if ((await replace()) === version) return;
      const giveUpAt = clock.monotonic() + ANSWERS_MS;
      for (;;) {
        // As the owner: sockets are found by user.
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
      // A service manager may start the old program again and again, which locks the store for a moment each time.
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

/** The machine of an upgrade. All calls can be repeated. */
type UpgradeTarget = {
  /** The version of the program at this path. Throws if it does not run here. */
  versionOf(program: string): string;
  /** Copies the store, because the new program may change it; undefined if there is no store yet. */
  backUp(): string | undefined;
  /** Stops the running berth and starts the program at its path. Resolves when `version` accepts requests. */
  restart(version: string): Promise<void>;
  /** Restores the copy of the store. */
  restore(backup: string): Promise<void>;
};

/** The previous program is kept beside the new one. */
const OLD_SUFFIX = ".before-upgrade";

/**
 * Replaces `program` by `from` and starts it. If that fails, restores the old program; if that does not start either, because the new one changed the
 * store, restores the store too. Can be repeated after a kill. Faults: PROGRAM_UNUSABLE, which says what runs now.
 */
async function swapProgram(options: {
  program: string;
  from: string;
  machine: UpgradeTarget;
}): Promise<{ was: string; is: string; backup: string | undefined }> {
  const { program, from, machine } = options;
  if (!existsSync(program)) throw new Fault("PROGRAM_UNUSABLE", `${program} does not exist. Run berth install first.`);
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
      `berth ${is} did not start: ${sentence(why)} Nor did berth ${was}, which is at ${program} again: ${sentence(then)}${kept}`,
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

/** Longer than the first process gives its successor. */
const HAND_OVER_MS = 400_000;
const LIMITS_MS = 5_000;
const MAX_BYTES = 1_048_576;

/** Where the first process of the running berth listens. */
type ParentProcess = { path: string; clock: Clock };

/** Undefined if no berth runs there. Faults: those of the reply; PROGRAM_UNUSABLE. */
function callParent(
  parent: ParentProcess,
  action: "hand-over" | "resume",
  body: { program?: string } = {},
): Promise<{ version?: string } | undefined> {
  return send(parent, { method: "POST", path: `/${action}`, body: JSON.stringify(body), timeoutMs: HAND_OVER_MS });
}

/** The limits of the first process. Undefined if no berth runs there. Faults: PROGRAM_UNUSABLE. */
export function loadParentLimits(parent: ParentProcess): Promise<Partial<ParentLimits> | undefined> {
  return send(parent, { method: "GET", path: "/limits", timeoutMs: LIMITS_MS });
}

async function send<Result extends object>(
  { path: socketPath, clock }: ParentProcess,
  { path, ...request }: { method: string; path: string; body?: string; timeoutMs: number },
): Promise<Result | undefined> {
  const toFault = ({ why, cause }: { why: string; cause?: unknown }) =>
    new Fault("PROGRAM_UNUSABLE", `The first process of the berth that runs did not complete its answer: ${why}. Its log has the reason.`, { cause });
  const reply = await requestSocket(
    { socketPath, clock, maxBytes: MAX_BYTES, timeoutMs: request.timeoutMs, toFault },
    { ...request, url: `http://localhost${path}` },
  );
  if (reply === undefined) return undefined;
  const value = JSON.parse(reply.text()) as Result & FaultData;
  if (reply.status !== 200) throw Fault.from(value);
  return value;
}
