import { existsSync } from "node:fs";
import { Fault } from "../../lib/fault.ts";
import { placeFile } from "./place-file.ts";

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
