#!/usr/bin/env node
/** The command line, and the root that composes the rooms: the only file that reads the environment. */
import { existsSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { systemClock } from "./clock.ts";
import { readSettings } from "./conf/read-settings.ts";
import { SETTINGS_FILE, SETTINGS_FILE_NAME } from "./conf/settings.ts";
import { Fault } from "./fault.ts";
import { openLog } from "./log.ts";
import { findParent } from "./roles/parent.ts";
import { openRuntimeFolder } from "./roles/runtime-folder.ts";
import { untilTold } from "./roles/until-told.ts";
import { VERSION } from "./roles/version.ts";

const { env } = process;
const clock = systemClock();
const parent = findParent();

/** What `berth <command>` does, and its line in the help. Each loads only the rooms that it runs. */
const COMMANDS: Record<string, { says: string; run(): Promise<void> }> = {
  serve: {
    says: "the whole: a control process and BERTH_WORKERS gateway processes",
    run: async () => {
      const { serve } = await import("./roles/serve.ts");
      const { settings, log } = read("serve");
      const served = await serve({ ...serveOptions(settings), env, log });
      console.log(`berth ${VERSION} at http://${shownHost(settings.edgeHost)}:${served.port}`);
      await untilTold();
      await served.stop();
    },
  },
  demo: {
    says: "the same with a demo plugin in it, as `npm start` does",
    run: async () => {
      const [{ serve }, { runDemo }, { adminKey }] = await Promise.all([
        import("./roles/serve.ts"),
        import("./roles/demo.ts"),
        import("./control/identity/admin-key.ts"),
      ]);
      const { settings, sources, log } = read("demo");
      // A newcomer's machine may have no container engine; who names one gets it.
      const driver = sources["driver"] === "default" ? "process" : settings.driver;
      // What a newcomer reads is the page that the demo prints.
      const quiet = sources["logLevel"] === "default" ? { BERTH_LOG_LEVEL: "error" } : {};
      const served = await serve({ ...serveOptions(settings), env: { ...env, BERTH_DRIVER: driver, ...quiet }, log });
      const told = untilTold();
      const stopped = new AbortController();
      void told.then(() => stopped.abort());
      const { key } = adminKey({ dataFolder: settings.data, given: settings.adminKey });
      try {
        const rest = await runDemo({ settings, driver, port: served.port, devKey: key, signal: stopped.signal, clock });
        await told;
        await rest();
      } catch (error) {
        if (!stopped.signal.aborted) throw error;
      } finally {
        await served.stop();
      }
    },
  },
  control: {
    says: "the control plane alone",
    run: async () => {
      const { runControl } = await import("./roles/control.ts");
      const { settings, log } = read("control");
      const control = await runControl({ settings, runtime: runtime(settings), version: VERSION, clock, log });
      await running(control);
    },
  },
  gateway: {
    says: "one gateway process alone",
    run: async () => {
      const { runGateway } = await import("./roles/gateway.ts");
      const { settings, log } = read("gateway");
      const gateway = await runGateway({ settings, runtime: runtime(settings), handle: await parent?.handle(), clock, log });
      await running(gateway);
    },
  },
  users: {
    says: "people and their developer keys, at the berth that runs: users list, add, change, remove, key",
    run: async () => {
      const [{ runUsers }, { callControl }, { readAdminKey }] = await Promise.all([
        import("./roles/users.ts"),
        import("./roles/call-control.ts"),
        import("./control/identity/admin-key.ts"),
      ]);
      const { settings } = settingsFromHere();
      const key = readAdminKey({ dataFolder: settings.data, given: settings.adminKey });
      console.log(await runUsers(process.argv.slice(3), callControl({ ...runtime(settings), data: settings.data, key, clock })));
    },
  },
  credentials: {
    says: "secrets of packages and their connections, at the berth that runs: credentials list, set, remove, rotate",
    run: async () => {
      const [{ runCredentials }, { callControl }, { readAdminKey }] = await Promise.all([
        import("./roles/credentials.ts"),
        import("./roles/call-control.ts"),
        import("./control/identity/admin-key.ts"),
      ]);
      const { settings } = settingsFromHere();
      const key = readAdminKey({ dataFolder: settings.data, given: settings.adminKey });
      const call = callControl({ ...runtime(settings), data: settings.data, key, clock });
      const hint = (sentence: string) => void (process.stdin.isTTY && console.error(sentence));
      console.log(await runCredentials(process.argv.slice(3), { call, input: process.stdin, hint }));
    },
  },
  orphans: {
    says: "what runs with berth's labels and belongs to nothing, at the berth that runs: orphans [--remove]",
    run: async () => {
      const [{ runOrphans }, { callControl }, { readAdminKey }] = await Promise.all([
        import("./roles/orphans.ts"),
        import("./roles/call-control.ts"),
        import("./control/identity/admin-key.ts"),
      ]);
      const { settings } = settingsFromHere();
      const key = readAdminKey({ dataFolder: settings.data, given: settings.adminKey });
      console.log(await runOrphans(process.argv.slice(3), callControl({ ...runtime(settings), data: settings.data, key, clock })));
    },
  },
  config: {
    says: "print the effective settings and where each came from",
    run: async () => {
      const { printSettings } = await import("./conf/print-settings.ts");
      process.stdout.write(printSettings(settingsFromHere()));
    },
  },
  version: { says: "print the version", run: async () => console.log(VERSION) },
  help: { says: "print this", run: async () => console.log(help()) },
};

type Settings = ReturnType<typeof readSettings>["settings"];

function settingsFromHere() {
  const path = env[SETTINGS_FILE_NAME] ?? SETTINGS_FILE;
  const wanted = env[SETTINGS_FILE_NAME] !== undefined || existsSync(path);
  return readSettings({ env, file: wanted ? { path, text: readTextOr(path) } : undefined });
}

function readTextOr(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `The settings file ${path} cannot be read: ${(cause as Error).message}.`, { cause });
  }
}

function read(role: string) {
  const found = settingsFromHere();
  const log = openLog({ level: found.settings.logLevel, name: role });
  // One process of several says it; the others read the same.
  if (!parent) for (const warning of found.warnings) log.warn({}, warning);
  return { ...found, log };
}

function serveOptions(settings: Settings) {
  return {
    script: import.meta.filename,
    host: settings.edgeHost,
    port: settings.edgePort,
    workers: settings.workers,
    drainMs: settings.drainSeconds * 1_000,
    clock,
  };
}

function runtime(settings: Settings) {
  return openRuntimeFolder({ data: settings.data, base: env["XDG_RUNTIME_DIR"] ?? tmpdir(), uid: process.getuid?.() ?? 0 });
}

/** Tells the parent, where there is one, and goes on until told to end. */
async function running(role: { close(): Promise<void> }): Promise<void> {
  parent?.ready();
  parent?.onGone(() => process.exit(1));
  await untilTold();
  await role.close();
}

function shownHost(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

function help(): string {
  const lines = Object.entries(COMMANDS).map(([name, { says }]) => `  ${name.padEnd(12)}${says}`);
  return `berth ${VERSION}: an edge proxy that wakes, guards and rests plugin containers\n\nberth <command>\n${lines.join("\n")}\n\nSettings come from the environment and ${SETTINGS_FILE}: see conf/settings.md.`;
}

async function main(): Promise<void> {
  const name = process.argv[2] ?? env["BERTH_ROLE"] ?? "help";
  const command = COMMANDS[name];
  if (!command) throw new Fault("SETTINGS_INVALID", `There is no command "${name}"; there are: ${Object.keys(COMMANDS).join(", ")}.`);
  await command.run();
}

try {
  await main();
  process.exit(0);
} catch (error) {
  // What is expected to go wrong is one sentence; anything else is a bug, with its trace.
  if (error instanceof Fault) {
    if (parent) await parent.fault(error);
    else for (const line of error.message.split("\n")) console.error(`berth: ${line}`);
  } else console.error(error);
  process.exit(1);
}
