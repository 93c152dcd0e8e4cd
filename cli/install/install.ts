import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { Fault } from "../../lib/fault.ts";
import { INSTALL_PATHS, SERVICE_USER, UNIT_NAME, FIRST_SETTINGS, unitText } from "./unit.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { join } from "node:path";
import { placeFile } from "./place-file.ts";

const MAKE_USER_MS = 30_000;

/** `berth install`: what a package would do. */
export const verbs: Verbs = {
  "": defineVerb({
    words: "",
    summary: `copy this executable to ${INSTALL_PATHS.program}, make the user ${SERVICE_USER}, write ${INSTALL_PATHS.unit} and, where there is none, ${INSTALL_PATHS.settings}`,
    details: "Starts nothing. Run it as root; it can be repeated.",
    options: { root: { value: "<folder>", summary: "of another system that is to be, in an image: there no user is made", completes: "folders" } },
    run: async ({ context, options: { root = "/" }, screen }) => {
      if (!existsSync(root)) throw new Fault("SETTINGS_INVALID", "The folder that --root names is not there.");
      if (context.script !== undefined)
        throw new Fault(
          "PROGRAM_UNUSABLE",
          "berth runs from its source tree here: make the executable by `npm run build:binary`, and run its install.",
        );
      if (process.getuid?.() !== 0) throw new Fault("PROGRAM_UNUSABLE", "Only root can install a service: run this with sudo.");
      if (root === "/") makeUser();
      const { hasEngineGroup } = installFiles({ root, program: process.execPath });
      screen.print(`Written: ${INSTALL_PATHS.program}, ${INSTALL_PATHS.unit}, ${INSTALL_PATHS.settings}.`);
      if (!hasEngineGroup)
        screen.print("There is no group docker, so it will reach no Docker engine of this machine: install that, then run this again.");
      screen.print(`Put settings in ${INSTALL_PATHS.settings}, then:\n  systemctl daemon-reload && systemctl enable --now ${UNIT_NAME}`);
    },
  }),
};

/** Without a home that it could write, a shell or a password. */
function makeUser(): void {
  const words = ["--system", "--user-group", "--home-dir", INSTALL_PATHS.data, "--no-create-home", "--shell", "/usr/sbin/nologin", SERVICE_USER];
  try {
    execFileSync("getent", ["passwd", SERVICE_USER], { stdio: "ignore", timeout: MAKE_USER_MS });
  } catch {
    try {
      execFileSync("useradd", words, { stdio: ["ignore", "ignore", "pipe"], timeout: MAKE_USER_MS, encoding: "utf8" });
    } catch (cause) {
      const stderr = (cause as { stderr?: string }).stderr?.trim();
      throw new Fault("PROGRAM_UNUSABLE", `The user ${SERVICE_USER} cannot be made: ${stderr || (cause as Error).message}`, { cause });
    }
  }
}

/** The engine's socket belongs to it; where there is none, the unit could not start with it. */
const ENGINE_GROUP = "docker";

/** Puts the program, its unit and its first settings below `root`; may be repeated, and then leaves the settings as they are. Faults: PROGRAM_UNUSABLE. */
export function installFiles(options: { root: string; program: string }): { hasEngineGroup: boolean } {
  const at = (path: string) => join(options.root, path);
  const groups = existsSync(at("/etc/group")) ? readFileSync(at("/etc/group"), "utf8").split("\n") : [];
  const hasEngineGroup = groups.some((line) => line.startsWith(`${ENGINE_GROUP}:`));
  placeFile(at(INSTALL_PATHS.program), { copyOf: options.program }, 0o755);
  placeFile(at(INSTALL_PATHS.unit), { text: unitText({ groups: hasEngineGroup ? [ENGINE_GROUP] : [] }) }, 0o644);
  // Secrets will stand in it.
  if (!existsSync(at(INSTALL_PATHS.settings))) placeFile(at(INSTALL_PATHS.settings), { text: FIRST_SETTINGS }, 0o600);
  return { hasEngineGroup };
}
