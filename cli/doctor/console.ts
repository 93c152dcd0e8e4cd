import { consoleSettingsFault } from "../../processes/console-listener.ts";
import { Fault } from "../../lib/fault.ts";
import { ask, readJson, shown } from "./send-request.ts";
import { at, type Chain } from "./check.ts";
import { type Finding, type Problem, warning, wrong } from "./finding.ts";

const PUBLISH = "Publish the port BERTH_CONSOLE_PORT as well, or set BERTH_CONSOLE_URL to the address at which browsers reach the console.";
const NAME_EDGE = "Set BERTH_WEB_ROOT to the public address of the edge.";

/** The console, where the edge sends browsers: that it answers there, and that its button Open leads back to the edge. */
export async function checkConsole({ settings, server }: Chain, signal: AbortSignal): Promise<Finding> {
  if (settings.datagrok.url !== undefined) return { unlooked: "DATAGROK_URL is set: that server has the pages" };
  const fault = consoleSettingsFault(settings);
  if (fault !== undefined) return { says: "", problems: [wrong(fault.message, NAME_EDGE)] };
  const edge = at(server, "/");
  const { status, headers } = await ask(edge, { signal });
  const address = headers.location;
  if (status !== 302 || typeof address !== "string" || !URL.canParse(address))
    throw new Fault("CHAIN_BROKEN", `${shown(edge)} answers ${status}, and sends browsers to no console.`);
  const { origin } = new URL(address);
  const rooms = await ask(`${origin}/console/rooms`, { signal }).catch((error: unknown) => {
    if (signal.aborted || !(error instanceof Fault)) throw error;
    return error;
  });
  if (rooms instanceof Fault) return { says: "", problems: [wrong(`The edge sends browsers to ${origin}. ${rooms.message}`, PUBLISH)] };
  if (rooms.status !== 200 || !Array.isArray((readJson(rooms.text) as { rooms?: unknown } | undefined)?.rooms))
    return {
      says: "",
      problems: [wrong(`The edge sends browsers to ${origin}, which answers ${rooms.status} and not as the console does.`, PUBLISH)],
    };
  return { says: `${origin} answers`, problems: await problemsOfOpen(origin, server, signal) };
}

/** The page permits its forms to be posted to the edge: that address is where the button Open leads. */
async function problemsOfOpen(origin: string, { url, named }: Chain["server"], signal: AbortSignal): Promise<Problem[]> {
  const { headers } = await ask(`${origin}/`, { signal });
  const [, edge] = /form-action 'self' (\S+)/.exec(String(headers["content-security-policy"] ?? "")) ?? [];
  if (edge === undefined) return [wrong("The console does not know the address of the edge, so that its button Open fails.", NAME_EDGE)];
  if (named && edge !== url.origin)
    return [warning(`The console's button Open leads to ${edge}, and the public address is ${url.origin}.`, NAME_EDGE)];
  return [];
}
