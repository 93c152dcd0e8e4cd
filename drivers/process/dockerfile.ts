import { readFinalStage } from "../../lib/dockerfile/read-final-stage.ts";
import { advisedFault } from "../faults.ts";

/** What a Dockerfile says about running; how its image is built is passed over. */
export type Recipe = {
  /** Program and arguments: ENTRYPOINT followed by CMD, a shell form as `/bin/sh -c`. */
  command: string[];
  env: Record<string, string>;
  /** Each WORKDIR as it stands, in order: a relative one is below those before it. */
  workdirs: string[];
  /** Exposed TCP ports: those of the final stage first, in the order in which they are named. */
  exposed: number[];
};

/** Requests go to the first; the others are named in a warning. */
const MAX_EXPOSED = 100;

/** Reads the final stage, after the stages of the same file that it is made from. Faults: IMAGE_REFERENCE_INVALID. */
export function readDockerfile(text: string): Recipe {
  const stage = readFinalStage(text);
  const entrypoint = commandOf(stage.entrypoint);
  // A shell form of ENTRYPOINT takes no arguments: CMD is not for it.
  const command = entrypoint[0] === SHELL[0] && entrypoint.length === 3 ? entrypoint : [...entrypoint, ...commandOf(stage.cmd)];
  if (command.length === 0)
    throw advisedFault("IMAGE_REFERENCE_INVALID", "The Dockerfile names neither CMD nor ENTRYPOINT, so there is nothing to run.");
  const exposed = new Set<number>();
  for (const { ports } of stage.exposed.flat()) {
    if (ports?.protocol !== "tcp") continue;
    for (let port = ports.first; port <= ports.last && exposed.size < MAX_EXPOSED; port++) exposed.add(port);
  }
  return { command, env: Object.fromEntries(stage.env), workdirs: stage.workdirs, exposed: [...exposed] };
}

const SHELL = ["/bin/sh", "-c"];

function commandOf(written = ""): string[] {
  if (written.startsWith("[")) {
    try {
      const words: unknown = JSON.parse(written);
      if (Array.isArray(words) && words.every((word) => typeof word === "string")) return words;
    } catch {
      // Docker itself takes a list that is no JSON for a shell line.
    }
  }
  return written === "" ? [] : [...SHELL, written];
}
