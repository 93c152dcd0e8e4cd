import type { Clock } from "../lib/clock.ts";
import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";
import { openDatagrok } from "../gateway/datagrok/open-datagrok.ts";
import type { ControlLink } from "../gateway/feed/control-link.ts";
import { type Feed, openFeed } from "../gateway/feed/open-feed.ts";
import type { Log } from "../lib/log.ts";
import { isSessionToken } from "../control/identity/tokens.ts";

/** Whom this gateway asks who calls and where containers are. Faults: SETTINGS_INVALID. */
export function openDirectory(parts: { settings: Settings; link: ControlLink; version: string; clock: Clock; log: Log }): Feed {
  const { settings, link, version, clock, log } = parts;
  const { url, directory, key } = settings.datagrok;
  if (directory === "control") return openFeed({ link, version, isToken: isSessionToken, clock, log });
  if (url === undefined) throw new Fault("SETTINGS_INVALID", "BERTH_DIRECTORY=datagrok asks the Datagrok server of DATAGROK_URL: set that too.");
  // It refuses callers, never a gateway.
  const refused = () => new Promise<never>(() => undefined);
  return { ...openDatagrok({ url, key, runMs: settings.dockerSettings.proxyRequestTimeout, clock, log }), refused, state: () => undefined };
}
