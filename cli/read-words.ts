import { parseArgs, type ParseArgsConfig } from "node:util";
import { suggestion } from "../conf/suggestion.ts";
import { Fault } from "../lib/fault.ts";

/** The words behind a command; one that is not among `config`'s is refused. Faults: SETTINGS_INVALID, with what is wrong and then `usage`. */
export function readWords<const T extends ParseArgsConfig>(config: T, usage: string, names: readonly string[] = []): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    const [said = ""] = (error as Error).message.split(". ", 1);
    const unknown = /^Unknown option '--([^']+)'/.exec(said)?.[1];
    const near =
      unknown === undefined
        ? ""
        : suggestion(
            `--${unknown}`,
            names.map((name) => `--${name}`),
          );
    throw new Fault("SETTINGS_INVALID", `${said}${near}.\n${usage}`, { cause: error });
  }
}
