/** Where things are on a machine on which `berth install` was run. */
export const INSTALL_PATHS = {
  program: "/usr/local/bin/berth",
  unit: "/etc/systemd/system/berth.service",
  settings: "/etc/berth/berth.env",
  data: "/var/lib/berth",
  runtime: "/run/berth",
} as const;

export const UNIT_NAME = "berth.service";
/** Both the user and its group. */
export const SERVICE_USER = "berth";

/**
 * The unit. What berth does not need is taken from it; it needs sockets, its folders, memory that is written and then run (Node compiles), and the
 * engine's socket, which the group `docker` opens. Source: systemd.service(5), systemd.exec(5), systemd.kill(5).
 */
export function unitText({ groups }: { groups: readonly string[] }): string {
  return `# Written by \`berth install\`, and again by the next one: settings belong in ${INSTALL_PATHS.settings}, other changes in \`systemctl edit ${UNIT_NAME}\`.
[Unit]
Description=berth, starts plugin containers on demand
Wants=network-online.target
After=network-online.target docker.service
StartLimitIntervalSec=0

[Service]
Type=notify
# systemd-notify tells it for us.
NotifyAccess=all
ExecStart=${INSTALL_PATHS.program} serve
EnvironmentFile=${INSTALL_PATHS.settings}
User=${SERVICE_USER}
Group=${SERVICE_USER}
${groups.map((group) => `SupplementaryGroups=${group}\n`).join("")}WorkingDirectory=${INSTALL_PATHS.data}
StateDirectory=berth
StateDirectoryMode=0700
CacheDirectory=berth
CacheDirectoryMode=0700
RuntimeDirectory=berth
RuntimeDirectoryMode=0700
UMask=0077
LimitNOFILE=1048576
# The first process notifies systemd three times in it that its event loop runs; it watches the others itself (BERTH_WATCHDOG_SECONDS).
WatchdogSec=60

# The first process tells the others in order, and is waited for: BERTH_DRAIN_SECONDS and what comes after. Then all are killed.
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

/** What is there at first; an administrator's own is never written again. */
export const FIRST_SETTINGS = `# berth's settings, one NAME=value a line; docs/reference/settings.md lists them all, \`berth config\` prints those in force.
BERTH_DATA=${INSTALL_PATHS.data}
XDG_RUNTIME_DIR=${INSTALL_PATHS.runtime}
`;
