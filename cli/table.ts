import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { constants, Script } from "node:vm";
import { Fault } from "../lib/fault.ts";
import type { CommandContext } from "./command-context.ts";
import type { Commands } from "./command.ts";

/** What `berth <command>` does. */
export const COMMANDS: Commands = {
  containers: {
    section: "containers",
    summary: "list containers and their state",
    aliases: ["ps"],
    load: async () => {
      const [{ listVerb }, { REMOVE }] = await Promise.all([import("./containers/list.ts"), import("./containers/remove.ts")]);
      return { verbs: { "": { ...listVerb("containers"), aliases: ["ls"] }, rm: REMOVE[""]! } };
    },
  },
  images: {
    section: "containers",
    summary: "list images and their state",
    load: async () => {
      const [{ listVerb }, { REVALIDATE }] = await Promise.all([import("./containers/list.ts"), import("./containers/actions.ts")]);
      return { verbs: { "": { ...listVerb("images"), aliases: ["ls"] }, validate: REVALIDATE[""]! } };
    },
  },
  run: {
    section: "containers",
    aliases: ["start"],
    summary: "start containers, and wait until they answer",
    load: async () => ({ verbs: (await import("./containers/actions.ts")).START }),
  },
  stop: {
    section: "containers",
    summary: "stop containers, and wait until they have stopped",
    load: async () => ({ verbs: (await import("./containers/actions.ts")).STOP }),
  },
  restart: {
    section: "containers",
    summary: "stop containers and start them again",
    load: async () => ({ verbs: (await import("./containers/actions.ts")).RESTART }),
  },
  wait: { section: "containers", summary: "wait until containers have started, stopped or gone", load: () => import("./containers/wait.ts") },
  rm: {
    section: "containers",
    summary: "stop and remove containers",
    load: async () => ({ verbs: (await import("./containers/remove.ts")).REMOVE }),
  },
  revalidate: {
    section: "containers",
    summary: "validate images again",
    load: async () => ({ verbs: (await import("./containers/actions.ts")).REVALIDATE }),
  },
  exec: { section: "inspect", summary: "run a command or a shell in a container", runsProgram: true, load: () => import("./containers/exec.ts") },
  logs: { section: "inspect", summary: "print a container's logs, and follow them", load: () => import("./containers/logs.ts") },
  inspect: { section: "inspect", summary: "print all that the server has of a container or an image", load: () => import("./containers/inspect.ts") },
  explain: { section: "inspect", summary: "explain why a container is in its state", load: () => import("./containers/explain.ts") },
  suggestions: {
    section: "inspect",
    summary: "list containers that are worth keeping warm in their usual hours",
    load: () => import("./containers/suggestions.ts"),
  },
  stats: { section: "inspect", summary: "show what running containers use", load: () => import("./containers/stats.ts") },
  top: { section: "inspect", summary: "watch containers and their activity", load: () => import("./containers/top.ts") },
  orphans: {
    section: "inspect",
    summary: "list and remove services that belong to no container",
    load: async () => ({ verbs: (await import("./containers/orphans.ts")).ORPHANS }),
  },
  status: {
    section: "inspect",
    summary: "show the control processes, which of them leads, and their database",
    load: async () => ({ verbs: (await import("./server/status.ts")).STATUS }),
  },
  health: { section: "inspect", summary: "check whether berth accepts requests", load: () => import("./health.ts") },
  doctor: { section: "inspect", summary: "check every step from a browser to a container", load: () => import("./doctor/doctor.ts") },
  shadow: {
    section: "inspect",
    summary: "send the same requests to two registry proxies, and print the differences",
    load: () => import("./shadow/shadow.ts"),
  },
  init: { section: "publish", summary: "write a package with a container, ready to publish", load: () => import("./publish/init.ts") },
  publish: { section: "publish", summary: "build a package's images, push them, and publish it", load: () => import("./publish/publish.ts") },
  history: {
    section: "publish",
    summary: "list a package's current and earlier versions",
    load: async () => ({ verbs: (await import("./publish/versions.ts")).HISTORY }),
  },
  rollback: {
    section: "publish",
    summary: "publish an earlier version of a package again",
    load: async () => ({ verbs: (await import("./publish/versions.ts")).ROLLBACK }),
  },
  unpublish: {
    section: "publish",
    summary: "stop and remove all containers and images of a package",
    load: async () => ({ verbs: (await import("./publish/versions.ts")).UNPUBLISH }),
  },
  registry: {
    section: "publish",
    summary: "run berth's own registry, and manage the images in a registry",
    load: () => import("./registry/registry.ts"),
  },
  login: {
    section: "users",
    summary: "sign in to a server, and use it from now on",
    load: async () => ({ verbs: (await import("./server/login.ts")).LOGIN }),
  },
  context: {
    section: "users",
    summary: "list the servers that you signed in to, and choose the current one",
    load: async () => ({ verbs: (await import("./server/login.ts")).CONTEXT }),
  },
  users: { section: "users", summary: "manage users and their developer keys", load: () => import("./users/users.ts") },
  publishers: {
    section: "users",
    summary: "manage trusted publishers: CI jobs that publish without a stored key",
    load: () => import("./users/publishers.ts"),
  },
  credentials: { section: "users", summary: "manage the secrets of packages and their connections", load: () => import("./users/credentials.ts") },
  gateways: {
    section: "users",
    summary: "print the token with which gateways on other machines join",
    load: async () => ({ verbs: (await import("./users/keys.ts")).GATEWAY_TOKENS }),
  },
  keys: {
    section: "users",
    summary: "manage the keys that sign docker tokens",
    load: async () => ({ verbs: (await import("./users/keys.ts")).SIGNING_KEYS }),
  },
  webhooks: {
    section: "users",
    summary: "manage the addresses that receive events",
    load: async () => ({ verbs: (await import("./server/webhooks.ts")).WEBHOOKS }),
  },
  serve: { section: "run", summary: "run berth: one control process and BERTH_WORKERS gateway processes", load: () => import("./serve.ts") },
  demo: { section: "run", summary: "run berth with a demo plugin, as `npm start` does", load: () => import("./demo.ts") },
  control: {
    section: "run",
    summary: "run only the control plane, or let another control process lead",
    load: async () => ({ verbs: (await import("./server/status.ts")).CONTROL }),
  },
  gateway: {
    section: "run",
    summary: "run only gateways, for a control plane or a Datagrok server",
    load: () => import("./gateway.ts"),
  },
  "registry-proxy": {
    section: "run",
    summary: "run only the registry proxy, beside a Datagrok server",
    load: async () => ({ run: (await import("./run-process.ts")).runRegistryProxyProcess }),
  },
  spawner: {
    section: "run",
    summary: "run the spawner API on port 8000, on this machine's engine",
    load: async () => ({ run: (await import("./run-process.ts")).runSpawnerProcess }),
  },
  install: {
    section: "maintain",
    summary: "install this executable as a systemd service",
    load: () => import("./install/install.ts"),
  },
  upgrade: { section: "maintain", summary: "replace the running executable", load: () => import("./install/upgrade.ts") },
  store: {
    section: "maintain",
    summary: "copy the store between the data folder and PostgreSQL",
    load: async () => ({ verbs: (await import("./store.ts")).STORE }),
  },
  backup: {
    section: "maintain",
    summary: "write the store and the published files to a file, while berth runs",
    load: async () => ({ verbs: (await import("./backup.ts")).BACKUP }),
  },
  restore: {
    section: "maintain",
    summary: "restore the store from a backup file",
    load: async () => ({ verbs: (await import("./backup.ts")).RESTORE }),
  },
  import: { section: "maintain", summary: "import images and containers from a Datagrok server", load: () => import("./import.ts") },
  config: { section: "maintain", summary: "print the effective settings and the source of each", load: () => import("./config.ts") },
  completion: {
    section: "shell",
    summary: "print a shell's completion script",
    load: async () => ({ verbs: (await import("./completion.ts")).COMPLETION }),
  },
  man: {
    section: "shell",
    summary: "print the manual page",
    load: async () => {
      const { manVerbs } = await import("./man.ts");
      return { verbs: manVerbs };
    },
  },
  version: { section: "shell", summary: "print the version, its commit and its build", load: () => import("./version.ts") },
  help: { section: "shell", summary: "print all commands, or one command's help", load: () => import("./help.ts") },
};

/** Commands that berth itself or a shell runs. Help and the docs leave them out. */
export const INTERNAL_COMMANDS: Commands = {
  node: {
    section: "run",
    summary: "run a JavaScript file with the Node of this executable",
    load: async () => ({ usage: NODE_USAGE, run: runFile }),
  },
  /** For `berth upgrade`, which often runs as another user. */
  running: {
    section: "maintain",
    summary: "print the version of the running berth",
    load: async () => {
      const { localApi } = await import("./command-context.ts");
      return { run: async (context) => console.log((await localApi(context)<{ Version: string }>("GET", "/info/server")).Version) };
    },
  },
  /** In an image of berth, BERTH_ROLE names this command. */
  "doctor-echo": {
    section: "inspect",
    summary: "run the container that berth doctor starts",
    load: async () => {
      const [{ ownFile }, { ECHO_FILE }] = await Promise.all([import("../lib/own-files.ts"), import("./doctor/container.ts")]);
      return { run: (context) => runFile({ ...context, args: [ownFile(ECHO_FILE)] }) };
    },
  },
  "registry-image": {
    section: "run",
    summary: "run Distribution's image as if it were a program",
    load: async () => {
      const { runImage } = await import("../processes/distribution/run-image.ts");
      return { usage: "Usage: berth registry-image <argument>...", run: ({ args }) => runImage(args) };
    },
  },
  /** A process of its own, so that its caller can kill it. */
  "check-store": {
    section: "maintain",
    summary: "print what is wrong with the store, as a JSON list",
    load: async () => {
      const [{ checkIntegrity }, { loadSettings }] = await Promise.all([
        import("../control/store/check-integrity.ts"),
        import("./command-context.ts"),
      ]);
      return { run: async (context) => console.log(JSON.stringify(checkIntegrity(loadSettings(context).settings.data))) };
    },
  },
  complete: {
    section: "shell",
    summary: "print the words that can follow, for a shell",
    load: async () => ({ verbs: (await import("./completion.ts")).COMPLETE }),
  },
};

const NODE_USAGE = "Usage: berth node <file> [<argument>...]";

/**
 * `berth node`: the program `node` for services of the driver `process`, where berth is a single file. It runs a file, and takes no options of Node.
 * Faults: SETTINGS_INVALID.
 */
async function runFile({ args: [file, ...rest] }: CommandContext): Promise<void> {
  if (file === undefined || file.startsWith("-"))
    throw new Fault("SETTINGS_INVALID", `The Node within berth runs a file, and takes no options.\n${NODE_USAGE}`);
  const path = resolve(file);
  process.argv = [process.execPath, path, ...rest];
  // An import of the single file itself must be built in; a script of the default loader may import any file.
  const load = new Script("(url) => import(url)", { importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER });
  await (load.runInThisContext() as (url: string) => Promise<unknown>)(pathToFileURL(path).href);
  // Node would report an unsettled await when the file has nothing more to do.
  process.once("beforeExit", (code) => process.exit(code));
  await new Promise(() => {});
}
