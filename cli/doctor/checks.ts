import { checkBerth, checkConsole, checkTcpListeners } from "./berth.ts";
import { checkCertificate } from "./certificate.ts";
import type { Check } from "./check.ts";
import { checkContainer } from "./container.ts";
import { checkDatagrok, checkSleepers } from "./datagrok.ts";
import { checkDriver } from "./driver.ts";
import { checkImageRules } from "./image-rules.ts";
import { checkBackup, checkClock, checkDisk, checkName, checkOpenFiles, checkSockets, checkStore } from "./machine.ts";
import { checkRegistry } from "./registry.ts";
import { checkSignIn } from "./sign-in.ts";
import { checkSettings } from "./settings.ts";
import { checkEvents, checkIdle, checkWebSocket, idleMs } from "./streaming.ts";

/** From a browser to a container; each check may need earlier ones. */
export const CHECKS: readonly Check[] = [
  { name: "settings", needs: [], ms: 5_000, check: checkSettings, advice: "Correct them; docs/reference/settings.md has every setting." },
  {
    name: "address",
    needs: ["settings"],
    ms: 10_000,
    check: checkName("server"),
    advice: "Set BERTH_WEB_ROOT to the address that browsers use, or give --server; its name must be in DNS.",
  },
  {
    name: "datagrok name",
    needs: ["settings"],
    ms: 10_000,
    check: checkName("DATAGROK_URL"),
    advice: "Correct DATAGROK_URL, or the name server that this machine asks.",
  },
  {
    name: "registry name",
    needs: ["settings"],
    ms: 10_000,
    check: checkName("REGISTRY_URL"),
    advice: "Correct REGISTRY_URL, or the name server that this machine asks.",
  },
  {
    name: "certificate",
    needs: ["address"],
    ms: 10_000,
    check: checkCertificate,
    advice: "Check that the address uses TLS, and that BERTH_TLS_CERT and BERTH_TLS_KEY are a pair of PEM files.",
  },
  { name: "clock", needs: ["address"], ms: 15_000, check: checkClock, advice: "See `timedatectl status`." },
  {
    name: "datagrok",
    needs: ["datagrok name"],
    ms: 15_000,
    check: checkDatagrok,
    advice: "Set DATAGROK_URL to that server's API, with /api, as this machine reaches it.",
  },
  { name: "berth", needs: ["certificate"], ms: 30_000, check: checkBerth, advice: "Check that berth runs, and read its log." },
  {
    name: "console",
    needs: ["berth"],
    ms: 20_000,
    check: checkConsole,
    advice:
      "Check that / of the edge redirects to the console: BERTH_CONSOLE_PORT, BERTH_CONSOLE_HOST, BERTH_CONSOLE_URL in docs/reference/settings.md.",
  },
  {
    name: "sign in",
    needs: ["settings"],
    ms: 20_000,
    check: checkSignIn,
    advice: "Check the provider, and the settings BERTH_OIDC_*: docs/sign-in.md.",
  },
  { name: "driver", needs: ["settings"], ms: 60_000, check: checkDriver, advice: "See docs/reference/drivers.md for what this driver needs." },
  {
    name: "registry",
    needs: ["berth", "registry name"],
    ms: 60_000,
    check: checkRegistry,
    advice: "Check that the backing registry runs and accepts REGISTRY_USERNAME, and check the developer key: docs/registry.md.",
  },
  {
    name: "image rules",
    needs: ["settings"],
    ms: 20_000,
    check: checkImageRules,
    advice: "Until then berth refuses every image: docs/image-policy.md.",
  },
  {
    name: "container",
    needs: ["berth", "driver"],
    ms: 180_000,
    check: checkContainer,
    advice: "The message is the driver's; docs/reference/drivers.md explains each.",
  },
  {
    name: "websocket",
    needs: ["container"],
    ms: 20_000,
    check: checkWebSocket,
    advice: "The proxy in front must forward Upgrade and Connection, and use HTTP/1.1 to berth: lua-compat/README.md has a configuration for nginx.",
  },
  { name: "events", needs: ["container"], ms: 20_000, check: checkEvents, advice: "Disable the response buffering of the proxy in front." },
  { name: "idle", needs: ["websocket"], ms: idleMs, check: checkIdle, advice: "Raise the idle time-out of the proxy in front." },
  {
    name: "tcp",
    needs: ["berth"],
    ms: 20_000,
    check: checkTcpListeners,
    advice: "See docs/databases.md for the settings of TCP listeners.",
  },
  {
    name: "open files",
    needs: ["settings"],
    ms: 10_000,
    check: checkOpenFiles,
    advice: "Check that berth runs, and run this as its user with its variables (docs/install.md).",
  },
  {
    name: "sockets",
    needs: ["settings"],
    ms: 20_000,
    check: checkSockets,
    advice: "Set BERTH_SOCKETS=node.",
  },
  { name: "disk", needs: ["settings"], ms: 10_000, check: checkDisk, advice: "Check the disk of the data folder." },
  {
    name: "store",
    needs: ["settings"],
    ms: 600_000,
    check: checkStore,
    advice: "Restore a backup: docs/install.md.",
  },
  { name: "backup", needs: ["settings"], ms: 10_000, check: checkBackup, advice: "Run `berth backup <file>`." },
  {
    name: "sleepers",
    needs: ["datagrok"],
    ms: 20_000,
    check: checkSleepers,
    advice: "Set --key-file or BERTH_DATAGROK_KEY to a developer key of the Datagrok server.",
  },
];
