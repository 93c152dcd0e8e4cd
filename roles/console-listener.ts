import type { Clock } from "../clock.ts";
import type { Settings } from "../conf/settings.ts";
import { Fault } from "../fault.ts";
import { type ListeningHandle, openListeningHandle } from "./listening-handle.ts";

/** Not where the console has a host name of its own at the edge, nor where a Datagrok server's page is there. */
export function hasConsoleListener({ consoleName, datagrok }: Settings): boolean {
  return consoleName === undefined && datagrok.url === undefined;
}

/** Undefined where it has none. Faults: ADDRESS_IN_USE. */
export async function bindConsole(settings: Settings, clock: Clock): Promise<{ handle: ListeningHandle; port: number } | undefined> {
  if (!hasConsoleListener(settings)) return undefined;
  return openListeningHandle({ host: settings.edgeHost, port: settings.consolePort }, clock).catch((error: unknown) => {
    if (!(error instanceof Fault) || error.code !== "ADDRESS_IN_USE") throw error;
    throw new Fault("ADDRESS_IN_USE", `${error.message} BERTH_CONSOLE_PORT names another for the console.`, { cause: error });
  });
}
