import type { Settings } from "../conf/settings.ts";
import { Fault } from "../fault.ts";

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
