import type { Clock } from "../clock.ts";
import type { Settings } from "../conf/settings.ts";
import { Fault } from "../fault.ts";
import { openDatagrok } from "../gateway/datagrok/open-datagrok.ts";
import { type Feed, openFeed } from "../gateway/feed/open-feed.ts";
import type { Log } from "../log.ts";
import type { RuntimeFolder } from "./runtime-folder.ts";

/** Whom this gateway asks who calls and where containers are. Faults: SETTINGS_INVALID. */
export function openDirectory(parts: { settings: Settings; runtime: RuntimeFolder; clock: Clock; log: Log }): Feed {
  const { settings, runtime, clock, log } = parts;
  const { url, directory, key } = settings.datagrok;
  if (directory === "control") return openFeed({ socketPath: runtime.feedSocket, clock, log });
  if (url === undefined) throw new Fault("SETTINGS_INVALID", "BERTH_DIRECTORY=datagrok asks the Datagrok server of DATAGROK_URL: set that too.");
  return openDatagrok({ url, key, runMs: settings.dockerSettings.proxyRequestTimeout, clock, log });
}
