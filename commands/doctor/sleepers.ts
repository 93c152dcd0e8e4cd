import { ask, readJson, shown } from "./ask.ts";
import type { Chain } from "./chain.ts";
import { type Finding, warning } from "./finding.ts";

const MOST_NAMED = 20;
const DEEPEST = 4;

/**
 * A Datagrok server behind cannot be told that a container is in use: one with `shutdown_timeout` may be stopped by it amid work. Only who has a key of
 * that server can ask.
 */
export async function checkSleepers(chain: Chain, signal: AbortSignal): Promise<Finding> {
  const { settings, key } = chain;
  const url = settings.datagrok.url?.replace(/\/+$/, "");
  if (url === undefined) return { unlooked: "DATAGROK_URL is not set" };
  if (key === undefined) return { unlooked: "a developer key of that server is needed: --key-file" };
  const token = await chain.signIn(url, key, signal);
  const { status, text } = await ask(`${url}/docker/containers`, { headers: { authorization: token }, signal });
  const listed = readJson(text);
  if (status !== 200 || !Array.isArray(listed)) return { unlooked: `${shown(url)}/docker/containers answers ${status}, and no list` };
  const found = listed.filter((one) => hasTimeout(one, DEEPEST)).map((one: { name?: string; id?: string }) => one.name ?? one.id ?? "?");
  const named = `${found.slice(0, MOST_NAMED).join(", ")}${found.length > MOST_NAMED ? " and others" : ""}`;
  const problems =
    found.length === 0
      ? []
      : [
          warning(
            `The Datagrok server stops these by their shutdown_timeout, whatever passes through berth: ${named}.`,
            "Take shutdown_timeout out of their container.json, or let berth's own control run them.",
          ),
        ];
  return { says: `${listed.length} containers, ${found.length} with shutdown_timeout`, problems };
}

/** The server's own configuration of a container, wherever in it that is. */
function hasTimeout(value: unknown, deepest: number): boolean {
  if (typeof value !== "object" || value === null || deepest === 0) return false;
  return Object.entries(value).some(
    ([name, of]) => (/^shutdown_?timeout$/i.test(name) && typeof of === "number" && of > 0) || hasTimeout(of, deepest - 1),
  );
}
