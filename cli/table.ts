import type { Commands } from "./command.ts";

/** What `berth <command>` does. */
export const COMMANDS: Commands = {
  containers: { theme: "containers", says: "list containers", load: () => import("./containers/containers.ts") },
  images: { theme: "containers", says: "list images", load: () => import("./containers/images.ts") },
  run: { theme: "containers", says: "start containers, and wait until they answer", load: () => import("./containers/run.ts") },
  stop: { theme: "containers", says: "stop containers, and wait until they have ended", load: () => import("./containers/stop.ts") },
  revalidate: { theme: "containers", says: "have images looked for and checked again", load: () => import("./containers/revalidate.ts") },
  logs: { theme: "look", says: "print what a container wrote, and follow it", load: () => import("./containers/logs.ts") },
  explain: { theme: "look", says: "say why a container is as it is", load: () => import("./containers/explain.ts") },
  top: { theme: "look", says: "watch what containers do", load: () => import("./containers/top.ts") },
  orphans: {
    theme: "look",
    says: "list and remove what runs with berth's labels and belongs to nothing",
    load: () => import("./containers/orphans.ts"),
  },
  health: { theme: "look", says: "ask whether the berth of these settings takes requests", load: () => import("./health.ts") },
  doctor: { theme: "look", says: "say which link from a browser to a container is broken", load: () => import("./doctor.ts") },
  shadow: { theme: "look", says: "send the same requests to two registry proxies and print what differs", load: () => import("./shadow.ts") },
  publish: { theme: "publish", says: "build a package's images, push them, and publish it", load: () => import("./publish/publish.ts") },
  registry: {
    theme: "publish",
    says: "a registry of berth's own, with its proxy; and what is in a registry, and making room in it",
    load: () => import("./registry/registry.ts"),
  },
  users: { theme: "people", says: "people and their developer keys", load: () => import("./users/users.ts") },
  credentials: { theme: "people", says: "secrets of packages and their connections", load: () => import("./users/credentials.ts") },
  gateways: { theme: "people", says: "the token with which gateways on other machines join", load: () => import("./gateways.ts") },
  keys: { theme: "people", says: "keys that sign docker tokens", load: () => import("./users/keys.ts") },
  serve: { theme: "run", says: "the whole: a control process and BERTH_WORKERS gateway processes", load: () => import("./serve.ts") },
  demo: { theme: "run", says: "the same with a demo plugin in it, as `npm start` does", load: () => import("./demo.ts") },
  control: { theme: "run", says: "the control plane alone", load: () => import("./control.ts") },
  gateway: {
    theme: "run",
    says: "gateways alone, of a control plane here or elsewhere, or of a Datagrok server",
    load: () => import("./gateway.ts"),
  },
  "registry-proxy": { theme: "run", says: "the registry proxy alone, beside a Datagrok server", load: () => import("./registry-proxy.ts") },
  spawner: { theme: "run", says: "the spawner's API on port 8000 over this machine's engine", load: () => import("./spawner.ts") },
  install: { theme: "machine", says: "make a service of systemd of this executable: its user, folders and unit", load: () => import("./install.ts") },
  upgrade: { theme: "machine", says: "put another executable in the place of the one that runs", load: () => import("./upgrade.ts") },
  backup: { theme: "machine", says: "write the store and what belongs to it to a file, while berth runs", load: () => import("./backup.ts") },
  restore: { theme: "machine", says: "take the store from such a file", load: () => import("./restore.ts") },
  import: { theme: "machine", says: "take over images and containers of a Datagrok server", load: () => import("./import.ts") },
  config: { theme: "machine", says: "print the effective settings and where each came from", load: () => import("./config.ts") },
  completion: { theme: "shell", says: "print what makes a shell complete berth's words", load: () => import("./completion.ts") },
  version: { theme: "shell", says: "print the version, its commit and its build", load: () => import("./version.ts") },
  help: { theme: "shell", says: "print this, or more about one command", load: () => import("./help.ts") },
};

/** What berth asks of itself, as another process, and shells of it. */
export const INTERNAL: Commands = {
  node: { theme: "run", says: "run a JavaScript file as Node does", load: () => import("./node.ts") },
  running: { theme: "machine", says: "print the version of the berth that runs", load: () => import("./running.ts") },
  "doctor-echo": { theme: "look", says: "the container that berth doctor starts", load: () => import("./doctor-echo.ts") },
  "registry-image": { theme: "run", says: "run Distribution's image as if it were a program", load: () => import("./registry-image.ts") },
  "check-store": { theme: "machine", says: "check the store's integrity for berth doctor", load: () => import("./check-store.ts") },
  complete: { theme: "shell", says: "print how the last word may go on", load: () => import("./complete.ts") },
};
