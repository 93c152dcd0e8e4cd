#!/usr/bin/env node
/** The command line, and the root that everything is composed from: the only file that reads the environment. */
import { isSea } from "node:sea";
import { systemClock } from "./clock.ts";
import type { Here } from "./commands/here.ts";
import { VERSION } from "./commands/version.ts";
import { Fault } from "./fault.ts";
import { findParent } from "./roles/parent.ts";

/** `usage` says more than its name and `says` where it has words of its own. */
type Command = { says: string; load(): Promise<{ run(here: Here): Promise<void>; usage?: string }> };

/** What `berth <command>` does. Each loads only the rooms that it runs. */
const COMMANDS: Record<string, Command> = {
  serve: { says: "the whole: a control process and BERTH_WORKERS gateway processes", load: () => import("./commands/serve.ts") },
  demo: { says: "the same with a demo plugin in it, as `npm start` does", load: () => import("./commands/demo.ts") },
  control: { says: "the control plane alone", load: () => import("./commands/control.ts") },
  "registry-proxy": { says: "the registry proxy alone, beside a Datagrok server", load: () => import("./commands/registry-proxy.ts") },
  registry: {
    says: "a registry of berth's own, with its proxy; registry gc and registry retain make room in it",
    load: () => import("./commands/registry.ts"),
  },
  spawner: { says: "the spawner's API on port 8000 over this machine's engine", load: () => import("./commands/spawner.ts") },
  gateway: { says: "one gateway process alone", load: () => import("./commands/gateway.ts") },
  users: { says: "people and their developer keys: list, add, change, remove, key", load: () => import("./commands/users.ts") },
  credentials: { says: "secrets of packages and their connections: list, set, remove, rotate", load: () => import("./commands/credentials.ts") },
  keys: { says: "keys that sign docker tokens: list, rotate, revoke", load: () => import("./commands/keys.ts") },
  orphans: { says: "what runs with berth's labels and belongs to nothing: [--remove]", load: () => import("./commands/orphans.ts") },
  shadow: { says: "send the same requests to two registry proxies and print what differs", load: () => import("./commands/shadow.ts") },
  backup: { says: "write the store and what belongs to it to a file, while berth runs", load: () => import("./commands/backup.ts") },
  restore: { says: "take the store from such a file", load: () => import("./commands/restore.ts") },
  install: { says: "make a service of systemd of this executable: its user, folders and unit", load: () => import("./commands/install.ts") },
  upgrade: { says: "put another executable in the place of the one that runs: --from <file>", load: () => import("./commands/upgrade.ts") },
  health: { says: "ask whether the berth of these settings takes requests", load: () => import("./commands/health.ts") },
  doctor: { says: "look at every link from a browser to a container, and say which is broken", load: () => import("./commands/doctor.ts") },
  config: { says: "print the effective settings and where each came from", load: () => import("./commands/config.ts") },
  version: { says: "print the version, its commit and its build", load: () => import("./commands/version.ts") },
  help: { says: "print this", load: async () => ({ run: async () => console.log(help()) }) },
};

function help(): string {
  const lines = Object.entries(COMMANDS).map(([name, { says }]) => `  ${name.padEnd(16)}${says}`);
  return `berth ${VERSION}: an edge proxy that wakes, guards and rests plugin containers

berth <command>
${lines.join("\n")}

berth <command> --help says more. Settings come from the environment and berth.yaml: see conf/settings.md. users, credentials, keys, orphans,
registry gc and registry retain talk to the berth that runs on the same data folder.`;
}

/** What berth asks of itself, as another process. */
const INTERNAL: Record<string, Command> = {
  node: { says: "run a JavaScript file as Node does", load: () => import("./commands/node.ts") },
  running: { says: "print the version of the berth that runs", load: () => import("./commands/running.ts") },
  "doctor-echo": { says: "the container that berth doctor starts", load: () => import("./commands/doctor-echo.ts") },
  "registry-image": { says: "run Distribution's image as if it were a program", load: () => import("./commands/registry-image.ts") },
};

const asksForHelp = (word: string | undefined) => word === "--help" || word === "-h";

/**
 * A function, so that the whole file is on nobody's stack: where it is, V8 reads it again for the first stack that anybody asks for, and pino asks for
 * one. Of the single executable, 7 MB, that is 100 ms in each process.
 */
async function main(): Promise<void> {
  const parent = findParent();
  try {
    const { env, argv } = process;
    const first = argv[2] ?? env["BERTH_ROLE"] ?? "help";
    const name = asksForHelp(first) ? "help" : first;
    const command = [COMMANDS, INTERNAL].find((table) => Object.hasOwn(table, name))?.[name];
    if (!command) throw new Fault("SETTINGS_INVALID", `There is no command "${name}"; there are: ${Object.keys(COMMANDS).join(", ")}.`);
    const { run, usage = `Usage: berth ${name}\n  ${command.says}` } = await command.load();
    if (argv.slice(3).some(asksForHelp)) console.log(usage);
    else await run({ env, args: argv.slice(3), script: isSea() ? undefined : import.meta.filename, parent, clock: systemClock() });
    process.exit(0);
  } catch (error) {
    // What is expected to go wrong is one sentence; anything else is a bug, with its trace.
    if (error instanceof Fault) {
      if (parent) await parent.fault(error);
      else for (const line of error.message.split("\n")) console.error(`berth: ${line}`);
    } else console.error(error);
    process.exit(1);
  }
}

void main();
