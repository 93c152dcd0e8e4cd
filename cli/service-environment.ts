import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const SETTINGS_FOLDER = "/etc/berth";
/**
 * The settings of the services that have a control process, the first that exists counts: that of conf/systemd/berth-control.service, with what the unit sets
 * itself, and that of `berth install`.
 */
const SERVICES: readonly { file: string; set: Record<string, string> }[] = [
  { file: "control.env", set: { BERTH_DATA: "/var/lib/berth", XDG_RUNTIME_DIR: "/run/berth" } },
  { file: "berth.env", set: {} },
];

/** Commands for a berth or its data folder, by name and alias; not those that start one, or change the machine or the caller's own files. */
const SERVICE_COMMANDS: ReadonlySet<string> = new Set(
  [
    "containers ps images run start stop restart wait rm revalidate",
    "exec logs inspect explain suggestions stats top orphans status health doctor",
    "history rollback unpublish users publishers credentials webhooks gateways keys config complete",
    "backup restore store import",
  ].flatMap((line) => line.split(" ")),
);

/** The service of `berth install`, whose program `berth upgrade --from` replaces. */
const INSTALLED = "berth.env";

/** Settings that say which berth is meant. */
const CHOSEN = ["BERTH_DATA", "BERTH_SERVER", "BERTH_ADMIN_KEY", "BERTH_ROLE", "BERTH_CONFIG"];

/**
 * The variables of the installed service and the owner of its data folder, for root in a folder without a berth of its own: `sudo berth users ls` then needs
 * neither. Undefined if the command is not for that service. No owner: the command remains root's.
 */
export function serviceEnvironment(of: {
  env: NodeJS.ProcessEnv;
  args: readonly string[];
  uid: number | undefined;
  folder: string;
  settings?: string;
}): { variables: Record<string, string>; owner: { uid: number; gid: number } | undefined } | undefined {
  const { env, args, uid, folder, settings = SETTINGS_FOLDER } = of;
  const [command = "", verb] = args;
  // Without a verb, these start a process.
  const isServiceVerb = (command === "control" && verb === "step-down") || (command === "registry" && verb !== undefined);
  const isForService = SERVICE_COMMANDS.has(command) || isServiceVerb;
  const hasOption = (name: string) => args.some((word) => word === `--${name}` || word.startsWith(`--${name}=`));
  const isUpgrade = command === "upgrade" && hasOption("from");
  if (uid !== 0 || !(isForService || isUpgrade) || hasOption("server") || CHOSEN.some((name) => env[name] !== undefined)) return undefined;
  // The installed program is that service's, in whatever folder root is.
  const isInstalled = isUpgrade && !hasOption("program") && !hasOption("restart");
  if (!isInstalled && (existsSync(join(folder, ".berth")) || existsSync(join(folder, "berth.yaml")))) return undefined;
  const service = SERVICES.find(({ file }) => (!isUpgrade || file === INSTALLED) && existsSync(join(settings, file)));
  if (service === undefined) return undefined;
  const variables = { ...service.set, ...parseEnvironmentFile(readFileSync(join(settings, service.file), "utf8")) };
  const data = variables["BERTH_DATA"];
  const stat = data === undefined || isUpgrade ? undefined : statSync(data, { throwIfNoEntry: false });
  return { variables, owner: stat && stat.uid !== 0 ? { uid: stat.uid, gid: stat.gid } : undefined };
}

/** Lines of `NAME=value` as systemd's EnvironmentFile has them: comments begin with # or ;, and quotes around a value go. See systemd.exec(5). */
export function parseEnvironmentFile(text: string): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const line of text.split("\n")) {
    const trimmed = line.trim();
    const at = trimmed.indexOf("=");
    if (at < 1 || /^[#;]/.test(trimmed)) continue;
    const value = trimmed.slice(at + 1).trim();
    const quote = value.at(0);
    const isQuoted = value.length > 1 && (quote === '"' || quote === "'") && value.endsWith(quote);
    variables[trimmed.slice(0, at).trim()] = isQuoted ? value.slice(1, -1) : value;
  }
  return variables;
}
