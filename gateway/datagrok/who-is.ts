import type { WhoAnswer } from "../contract.ts";
import { type AskServer, serverAway } from "./ask-server.ts";

const LIMIT_MS = 5_000;

/** Who holds a session's token, as the server says it; undefined where nobody does, or no longer. Faults: DATAGROK_AWAY. */
export async function whoIs(server: AskServer, token: string, signal: AbortSignal): Promise<WhoAnswer | undefined> {
  const { status, said } = await server.get("/users/current", token, { signal, limitMs: LIMIT_MS });
  if (status === 401 || status === 403 || (status === 200 && said === null)) return undefined;
  const { id, login, admin } = (said ?? {}) as { id?: unknown; login?: unknown; admin?: unknown };
  if (status !== 200 || typeof id !== "string" || typeof login !== "string") throw serverAway(`does not say who is signed in (${status})`);
  return { userId: id, login, admin: admin === true };
}
