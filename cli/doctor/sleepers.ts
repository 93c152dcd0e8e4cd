import { Fault } from "../../lib/fault.ts";
import { openAskServer, listPages, signInWithKey } from "../../gateway/datagrok/ask-server.ts";
import { readContainer } from "../../gateway/datagrok/read-container.ts";
import type { Chain } from "./check.ts";
import { type Finding, warning } from "./finding.ts";

const MOST_NAMED = 20;
const CONNECTIONS = 1;
const LET = "Take shutdown_timeout out of their container.json, or have berth's own control run them.";

/** Containers that a Datagrok server may stop amid work, since it is not told of use. Only who has a key of that server can ask. */
export async function checkSleepers({ settings, key, clock }: Chain, signal: AbortSignal): Promise<Finding> {
  const { url } = settings.datagrok;
  if (url === undefined) return { unlooked: "DATAGROK_URL is not set" };
  if (key === undefined) return { unlooked: "a developer key of that server is needed: --key-file, or BERTH_DATAGROK_KEY" };
  const server = openAskServer({ url, connections: CONNECTIONS, clock });
  try {
    const listed = await listPages(server, "/docker/containers", await signInWithKey(server, key, signal), signal);
    const found = listed.flatMap(nameWhereStopped);
    const named = `${found.slice(0, MOST_NAMED).join(", ")}${found.length > MOST_NAMED ? " and others" : ""}`;
    const what = `The Datagrok server stops these by their shutdown_timeout, whatever passes through berth: ${named}.`;
    return { says: `${listed.length} containers, ${found.length} with shutdown_timeout`, problems: found.length === 0 ? [] : [warning(what, LET)] };
  } finally {
    await server.close();
  }
}

/** One that cannot be read says so to who calls it. */
function nameWhereStopped(entity: unknown): string[] {
  try {
    const { view, shutdownMinutes } = readContainer(entity);
    return shutdownMinutes === undefined ? [] : [view.name];
  } catch (error) {
    if (error instanceof Fault) return [];
    throw error;
  }
}
