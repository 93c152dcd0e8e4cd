import { parseArgs, type ParseArgsConfig } from "node:util";
import { Fault } from "../fault.ts";

/** The words behind a command; one that is not among `config`'s is refused. Faults: SETTINGS_INVALID, with what is wrong and then `usage`. */
export function readWords<const T extends ParseArgsConfig>(config: T, usage: string): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    throw new Fault("SETTINGS_INVALID", `${(error as Error).message.split(". ", 1)[0]}.\n${usage}`, { cause: error });
  }
}
