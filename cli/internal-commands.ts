import type { Commands } from "./command.ts";

/** Commands that berth itself or a shell runs. Help and the docs leave them out. */
export const INTERNAL_COMMANDS: Commands = {
  node: { section: "run", summary: "run a JavaScript file with the Node of this executable", load: () => import("./node.ts") },
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
      const [{ ownFile }, { ECHO_FILE }, { run }] = await Promise.all([
        import("../lib/own-files.ts"),
        import("./doctor/echo-file.ts"),
        import("./node.ts"),
      ]);
      return { run: (context) => run({ ...context, args: [ownFile(ECHO_FILE)] }) };
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
  complete: { section: "shell", summary: "print the words that can follow, for a shell", load: () => import("./complete.ts") },
};
