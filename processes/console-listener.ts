import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";

/** Where the console listens. Undefined where it has a host name of its own at the edge, or where a Datagrok server's page is there. */
export function consoleListenerAt({
  consoleName,
  datagrok,
  edgeHost: host,
  consolePort: port,
}: Settings): { host: string; port: number } | undefined {
  return consoleName === undefined && datagrok.url === undefined ? { host, port } : undefined;
}

/** Throws the error again; where the port is in use, with the setting that names another. */
export function explainConsolePort(error: unknown): never {
  if (!(error instanceof Fault) || error.code !== "ADDRESS_IN_USE") throw error;
  throw new Fault("ADDRESS_IN_USE", `${error.message} BERTH_CONSOLE_PORT names another for the console.`, { cause: error });
}

/** What is wrong with the settings of a console that has a host name of its own: its button Open posts to the edge, whose address only BERTH_WEB_ROOT tells then. */
export function consoleSettingsFault({ consoleName, webRoot }: Pick<Settings, "consoleName" | "webRoot">): Fault | undefined {
  if (consoleName === undefined) return undefined;
  if (webRoot === undefined)
    return new Fault(
      "SETTINGS_INVALID",
      `BERTH_CONSOLE_HOST is ${consoleName} and BERTH_WEB_ROOT is not set, so the console's button Open cannot find the edge: set BERTH_WEB_ROOT to the edge's public address.`,
    );
  if (new URL(webRoot).hostname !== consoleName.toLowerCase()) return undefined;
  return new Fault(
    "SETTINGS_INVALID",
    `BERTH_CONSOLE_HOST and BERTH_WEB_ROOT both name ${consoleName}, so no container can be reached: give the console a host name of its own.`,
  );
}
