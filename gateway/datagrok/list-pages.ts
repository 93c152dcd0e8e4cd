import { Fault } from "../../lib/fault.ts";
import { type AskServer, sentenceOf } from "./ask-server.ts";

const PAGE = 100;
const MOST_PAGES = 1_000;
const LIMIT_MS = 30_000;

/**
 * All entities below `path`, page by page; those of a page that came before, from a server that knows no pages, once. Faults: NOT_PERMITTED,
 * DATAGROK_AWAY, DATAGROK_BROKE_OFF.
 */
export async function listPages(server: AskServer, path: string, token: string, signal: AbortSignal): Promise<unknown[]> {
  const found = new Map<unknown, unknown>();
  for (let page = 1; page <= MOST_PAGES; page++) {
    const { status, said } = await server.get(`${path}?limit=${PAGE}&page=${page}&order=name`, token, { signal, limitMs: LIMIT_MS });
    if (status === 401 || status === 403) throw new Fault("NOT_PERMITTED", `The Datagrok server does not let you list ${path}.`);
    if (status !== 200 || !Array.isArray(said))
      throw new Fault("DATAGROK_BROKE_OFF", `The Datagrok server answered ${path} with ${sentenceOf(said) ?? `what is no list (${status})`}.`);
    const before = found.size;
    for (const entity of said as unknown[]) found.set((entity as { id?: unknown } | null)?.id ?? found.size, entity);
    if (said.length < PAGE || found.size === before) return [...found.values()];
  }
  throw new Fault("DATAGROK_BROKE_OFF", `The Datagrok server has more than ${PAGE * MOST_PAGES} entities at ${path}, or its pages do not end.`);
}
