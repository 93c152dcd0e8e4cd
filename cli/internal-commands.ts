import type { Commands } from "./command.ts";

/** Commands that berth itself or a shell runs. Help and the docs leave them out. */
export const INTERNAL_COMMANDS: Commands = {
  node: { theme: "run", says: "run a JavaScript file with the Node of this executable", load: () => import("./node.ts") },
  /** For `berth upgrade`, which often runs as another user. */
  running: {
    theme: "machine",
    says: "print the version of the running berth",
    load: async () => {
      const { callHere } = await import("./command-context.ts");
      return { run: async (context) => console.log((await callHere(context)<{ Version: string }>("GET", "/info/server")).Version) };
    },
  },
  /** In an image of berth, BERTH_ROLE names this command. */
  "doctor-echo": {
    theme: "look",
    says: "run the container that berth doctor starts",
    load: async () => {
      const [{ ownFile }, { ECHO_FILE }, { run }] = await Promise.all([
        import("../lib/own-files.ts"),
        import("./doctor/echo-file.ts"),
        import("./node.ts"),
      ]);
      return { run: (context) => run({ ...context, args: [ownFile(ECHO_FILE)] }) };
    },
  },
  "registry-image": {
    theme: "run",
    says: "run Distribution's image as if it were a program",
    load: async () => {
      const { runImage } = await import("../processes/distribution/run-image.ts");
      return { usage: "Usage: berth registry-image <argument>...", run: ({ args }) => runImage(args) };
    },
  },
  /** A process of its own, so that its caller can kill it. */
  "check-store": {
    theme: "machine",
    says: "print what is wrong with the store, as a JSON list",
    load: async () => {
      const [{ checkIntegrity }, { settingsHere }] = await Promise.all([
        import("../control/store/check-integrity.ts"),
        import("./command-context.ts"),
      ]);
      return { run: async (context) => console.log(JSON.stringify(checkIntegrity(settingsHere(context).settings.data))) };
    },
  },
  complete: { theme: "shell", says: "print the words that can follow, for a shell", load: () => import("./complete.ts") },
};
