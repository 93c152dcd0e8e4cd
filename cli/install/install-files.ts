import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { placeFile } from "./place-file.ts";
import { FIRST_SETTINGS, PLACES, unitText } from "./unit.ts";

/** The engine's socket belongs to it; where there is none, the unit could not start with it. */
const ENGINE_GROUP = "docker";

/** Puts the program, its unit and its first settings below `root`; may be repeated, and then leaves the settings as they are. Faults: PROGRAM_UNUSABLE. */
export function installFiles(options: { root: string; program: string }): { hasEngineGroup: boolean } {
  const at = (path: string) => join(options.root, path);
  const groups = existsSync(at("/etc/group")) ? readFileSync(at("/etc/group"), "utf8").split("\n") : [];
  const hasEngineGroup = groups.some((line) => line.startsWith(`${ENGINE_GROUP}:`));
  placeFile(at(PLACES.program), { copyOf: options.program }, 0o755);
  placeFile(at(PLACES.unit), { text: unitText({ groups: hasEngineGroup ? [ENGINE_GROUP] : [] }) }, 0o644);
  // Secrets will stand in it.
  if (!existsSync(at(PLACES.settings))) placeFile(at(PLACES.settings), { text: FIRST_SETTINGS }, 0o600);
  return { hasEngineGroup };
}
