import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { Fault } from "../../lib/fault.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { join, dirname } from "node:path";
import { makeFolder } from "../../lib/make-folder.ts";
import { type FileContent, replaceFile } from "../../lib/replace-file.ts";

/** Where `berth install` puts files. */
export const INSTALL_PATHS = {
  program: "/usr/local/bin/berth",
  unit: "/etc/systemd/system/berth.service",
  settings: "/etc/berth/berth.env",
  data: "/var/lib/berth",
  runtime: "/run/berth",
} as const;

export const UNIT_NAME = "berth.service";
/** The user and its group. */
const SERVICE_USER = "berth";

const MAKE_USER_MS = 30_000;

/** `berth install` */
export const verbs: Verbs = {
  "": defineVerb({
    words: "",
    summary: `copy this executable to ${INSTALL_PATHS.program}, create the user ${SERVICE_USER}, write ${INSTALL_PATHS.unit} and, where there is none, ${INSTALL_PATHS.settings}`,
    details: "Run it as root. It starts nothing, and can be repeated.",
    options: { root: { value: "<folder>", summary: "root folder of a system image; creates no user there", completes: "folders" } },
    run: async ({ context, options: { root = "/" }, screen }) => {
      if (!existsSync(root)) throw new Fault("SETTINGS_INVALID", "The folder of --root does not exist.");
      if (context.script !== undefined)
        throw new Fault(
          "PROGRAM_UNUSABLE",
          "berth runs from its source tree, or from the npm package. Build the executable with `npm run build:binary`, and run its install.",
        );
      if (process.getuid?.() !== 0) throw new Fault("PROGRAM_UNUSABLE", "Only root can install a service: run this with sudo.");
      const { hasEngineGroup, isFirst } = installFiles({ root, program: process.execPath });
      if (root === "/") makeUser({ groups: hasEngineGroup ? [ENGINE_GROUP] : [] });
      const { program, unit, settings } = INSTALL_PATHS;
      screen.print(isFirst ? `Written: ${program}, ${unit}, ${settings}.` : `Written: ${program}, ${unit}. Kept: ${settings}.`);
      if (!hasEngineGroup)
        screen.print("There is no group docker, so berth cannot use a Docker engine of this machine. Install Docker, then run this again.");
      // A service that runs already would keep its old program.
      const start = `systemctl ${isFirst ? "enable --now" : "restart"} ${UNIT_NAME}`;
      screen.print(`Put settings in ${settings}, then:\n  systemctl daemon-reload && ${start}`);
    },
  }),
};

/** A user without a writable home, a shell or a password. Its commands, such as `sudo berth doctor`, need the groups that its unit has. Faults: PROGRAM_UNUSABLE. */
export function makeUser({ groups }: { groups: readonly string[] }): void {
  const words = ["--system", "--user-group", "--home-dir", INSTALL_PATHS.data, "--no-create-home", "--shell", "/usr/sbin/nologin", SERVICE_USER];
  const hasUser = spawnSync("getent", ["passwd", SERVICE_USER], { stdio: "ignore", timeout: MAKE_USER_MS }).status === 0;
  if (!hasUser) changeUsers("created", "useradd", words);
  for (const group of groups) changeUsers(`added to the group ${group}`, "usermod", ["--append", "--groups", group, SERVICE_USER]);
}

function changeUsers(change: string, command: string, words: string[]): void {
  try {
    execFileSync(command, words, { stdio: ["ignore", "ignore", "pipe"], timeout: MAKE_USER_MS, encoding: "utf8" });
  } catch (cause) {
    const stderr = (cause as { stderr?: string }).stderr?.trim();
    throw new Fault("PROGRAM_UNUSABLE", `The user ${SERVICE_USER} cannot be ${change}: ${stderr || (cause as Error).message}`, { cause });
  }
}

/** The group of the engine's socket. A unit that names a missing group does not start. */
const ENGINE_GROUP = "docker";

/** Writes the program, its unit and its first settings below `root`. Repeated, it keeps the settings. Faults: PROGRAM_UNUSABLE. */
export function installFiles(options: { root: string; program: string }): { hasEngineGroup: boolean; isFirst: boolean } {
  const at = (path: string) => join(options.root, path);
  const groups = existsSync(at("/etc/group")) ? readFileSync(at("/etc/group"), "utf8").split("\n") : [];
  const hasEngineGroup = groups.some((line) => line.startsWith(`${ENGINE_GROUP}:`));
  placeFile(at(INSTALL_PATHS.program), { copyOf: options.program }, 0o755);
  const header = `Written by \`berth install\`, and again by the next one: settings belong in ${INSTALL_PATHS.settings}, other changes in \`systemctl edit ${UNIT_NAME}\`.`;
  const unit = unitText({ header, program: INSTALL_PATHS.program, groups: hasEngineGroup ? [ENGINE_GROUP] : [] });
  placeFile(at(INSTALL_PATHS.unit), unit, 0o644);
  const isFirst = !existsSync(at(INSTALL_PATHS.settings));
  // It will contain secrets.
  if (isFirst) placeFile(at(INSTALL_PATHS.settings), FIRST_SETTINGS, 0o600);
  return { hasEngineGroup, isFirst };
}

/**
 * The unit. It restricts berth to sockets, its folders, memory that is written and then run (Node compiles), and the engine's socket, which the group
 * `docker` opens. See systemd.service(5), systemd.exec(5), systemd.kill(5).
 */
export function unitText({ header, program, groups }: { header: string; program: string; groups: readonly string[] }): string {
  return `# ${header}
[Unit]
Description=berth, starts plugin containers on demand
Wants=network-online.target
After=network-online.target docker.service
StartLimitIntervalSec=0

[Service]
Type=notify
# systemd-notify sends the notifications.
NotifyAccess=all
ExecStart=${program} serve
EnvironmentFile=${INSTALL_PATHS.settings}
User=${SERVICE_USER}
Group=${SERVICE_USER}
${groups.map((group) => `SupplementaryGroups=${group}\n`).join("")}WorkingDirectory=${INSTALL_PATHS.data}
StateDirectory=berth
StateDirectoryMode=0700
CacheDirectory=berth
CacheDirectoryMode=0700
# For BERTH_ACCESS_LOG.
LogsDirectory=berth
LogsDirectoryMode=0700
RuntimeDirectory=berth
RuntimeDirectoryMode=0700
UMask=0077
LimitNOFILE=1048576
# The first process notifies systemd three times in it that its event loop runs; it watches the others itself (BERTH_WATCHDOG_SECONDS).
WatchdogSec=60

# The first process stops the others in order, within BERTH_DRAIN_SECONDS and some more. Then systemd kills all.
KillMode=mixed
TimeoutStopSec=120
TimeoutStartSec=90
Restart=always
RestartSec=1

NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`;
}

/** The initial settings; berth never overwrites an existing file. */
export const FIRST_SETTINGS = `# berth's settings, one NAME=value a line; docs/reference/settings.md lists them all, \`berth config\` prints those in force.
BERTH_DATA=${INSTALL_PATHS.data}
XDG_RUNTIME_DIR=${INSTALL_PATHS.runtime}
`;

/** Puts a file of an installation in its place, in one step. A program that runs goes on with the old one. Faults: PROGRAM_UNUSABLE. */
export function placeFile(path: string, content: FileContent, mode: number): void {
  try {
    makeFolder(dirname(path), 0o755);
    replaceFile(path, content, { mode });
  } catch (cause) {
    throw new Fault("PROGRAM_UNUSABLE", `${path} cannot be written: ${(cause as Error).message}.`, { cause });
  }
}
