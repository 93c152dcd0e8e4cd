import { execFile, execFileSync } from "node:child_process";
import { chownSync, existsSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import type { Settings } from "../conf/settings.ts";
import { backUp } from "../control/store/backup.ts";
import { Fault } from "../fault.ts";
import { type Here, settingsHere } from "./here.ts";
import { type Machine, swap } from "./install/swap.ts";
import { PLACES, UNIT_NAME } from "./install/unit.ts";
import { VERSION } from "./version.ts";
import { verb, type Verbs } from "./verb.ts";

const VERSION_MS = 15_000;
const RESTORE_MS = 600_000;
const RESTORE_TRIES = 10;
const RESTORE_AGAIN_MS = 700;
/** Beyond what open requests may take. */
const RESTART_MS = 120_000;
/** Until it answers, from when it was started. */
const ANSWERS_MS = 30_000;
const LOOK_EVERY_MS = 100;
const RUNNING_MS = 20_000;

const asked = promisify(execFile);

export const verbs: Verbs = {
  "": verb({
    words: "",
    says: "puts an executable in the place of the one that is installed, lets the berth that runs finish its requests, starts the new one, and puts the old one back where that does not take requests",
    more: "A backup of the store comes first.",
    options: {
      from: { takes: "<file>", says: "the new executable", completes: "files" },
      program: { takes: "<file>", says: `the one that is installed, where it is not ${PLACES.program}`, completes: "files" },
      restart: {
        takes: "<command>",
        says: `how berth is ended and started, where not by \`systemctl restart ${UNIT_NAME}\`; it may be told of both at once, and returns when both is done`,
      },
    },
    run: async ({ here, given: { from, program = PLACES.program, restart = `systemctl restart ${UNIT_NAME}` }, screen }) => {
      if (from === undefined) throw new Fault("SETTINGS_INVALID", "Usage: berth upgrade --from <file> [options]");
      const { settings } = settingsHere(here);
      const machine = machineHere(here, settings, resolve(program), restart);
      const { was, is, backup } = await swap({ program: resolve(program), from: resolve(from), machine });
      screen.print(
        `berth ${is} runs in the place of berth ${was}.${backup === undefined ? "" : ` The store as it was before is kept in ${backup}.`}`,
      );
    },
  }),
};

function machineHere(here: Here, settings: Settings, program: string, command: string): Machine {
  const { env, clock } = here;
  const data = resolve(settings.data);
  /** Whoever the store belongs to: root makes no file there that berth could not read. */
  const owner = existsSync(data) ? statSync(data) : undefined;
  const asOwner = owner && process.getuid?.() === 0 ? { uid: owner.uid, gid: owner.gid } : {};
  return {
    versionOf: (file) => {
      const said = ask(file);
      const version = /^berth (\d\S*) /.exec(said)?.[1];
      if (version === undefined)
        throw new Fault("PROGRAM_UNUSABLE", `${file} is no berth that runs on this machine: ${said.trim().slice(0, 300) || "it says nothing"}.`);
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
      const drainMs = (settings.drainSeconds + settings.drainDelaySeconds) * 1_000;
      await asked("/bin/sh", ["-c", command], { env, timeout: drainMs + RESTART_MS });
      const giveUpAt = clock.monotonic() + ANSWERS_MS;
      for (;;) {
        // Its sockets are its user's, and root would look for those of a berth of root's.
        const found = await asked(program, ["running"], { env, ...asOwner, timeout: RUNNING_MS }).then(
          ({ stdout }) => `berth ${stdout.trim()}`,
          (error: unknown) => (error as { stderr?: string }).stderr?.trim() || (error as Error).message,
        );
        if (found === `berth ${version}`) return;
        if (clock.monotonic() > giveUpAt) {
          throw new Fault("PROGRAM_UNUSABLE", `it did not answer within ${ANSWERS_MS / 1_000} s (${found}).`);
        }
        await clock.sleep(LOOK_EVERY_MS);
      }
    },
    restore: async (backup) => {
      const options = { env, ...asOwner, timeout: RESTORE_MS };
      // A service manager may be starting the old one again and again meanwhile, which has the store for a moment each time.
      for (let left = RESTORE_TRIES; ; left--) {
        const failed = await asked(program, ["restore", backup], options).then(
          () => undefined,
          (error: unknown) => error,
        );
        if (failed === undefined) return;
        if (left === 1) throw failed;
        await clock.sleep(RESTORE_AGAIN_MS);
      }
    },
  };
}

function ask(file: string): string {
  try {
    return execFileSync(file, ["version"], { env: {}, encoding: "utf8", timeout: VERSION_MS, stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    return stderr?.trim() || message;
  }
}
