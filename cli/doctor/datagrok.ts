import { listPages, openDatagrokClient, signInWithKey } from "../../gateway/datagrok/datagrok-client.ts";
import { readContainer } from "../../gateway/datagrok/read-container.ts";
import { trimTrailing } from "../../lib/character-classes.ts";
import { Fault } from "../../lib/fault.ts";
import { datagrokKeys, openSigners, verifyToken } from "../../lib/jwks/signers.ts";
import { openLog } from "../../lib/log.ts";
import { parseJson } from "../../lib/parse-json.ts";
import { type CheckContext, type CheckProblem, type CheckResult, failure, warning } from "./check.ts";
import { requestDockerToken, sendRequest, withoutSecrets } from "./send-request.ts";

/** The Datagrok server: its API, its keys, and whether berth accepts its tokens. */
export async function checkDatagrok({ settings, key, clock }: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const { url, issuer } = settings.datagrok;
  if (url === undefined) return { unlooked: "DATAGROK_URL is not set" };
  const base = trimTrailing(url, "/");
  const { status, text } = await sendRequest(`${base}/admin/startup_data`, { signal });
  const { webRoot } = (parseJson(text) ?? {}) as { webRoot?: unknown };
  if (status !== 200 || typeof webRoot !== "string")
    throw new Fault(
      "CHAIN_BROKEN",
      `${withoutSecrets(base)}/admin/startup_data answers ${status}${status === 200 ? " without a webRoot" : ""}: it is no API of a Datagrok server.`,
    );
  const problems: CheckProblem[] = [];
  const server = datagrokKeys(base, clock);
  try {
    const log = openLog({ level: "silent", name: "doctor" });
    const signers = openSigners({ server, issuer, clock, log });
    await signers.keys.find(undefined);
    const { service } = settings.registry;
    const token = key === undefined ? undefined : await requestDockerToken(`${base}/docker/token`, { key, service, signal });
    if (token !== undefined) await verifyToken(token, { ...signers, audience: service, clock });
    else if (issuer !== undefined && bare(issuer) !== bare(webRoot)) problems.push(otherIssuer(issuer, webRoot));
    const verified = token === undefined ? "keys, but it issued no docker token" : "keys and a docker token";
    return { says: `${withoutSecrets(base)} answers, with ${verified}`, problems };
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== "TOKEN_INVALID") throw error;
    return {
      says: `${withoutSecrets(base)} answers`,
      problems: [issuer !== undefined && bare(issuer) !== bare(webRoot) ? otherIssuer(issuer, webRoot) : refusedToken(error)],
    };
  } finally {
    server.close();
  }
}

function otherIssuer(issuer: string, webRoot: string): CheckProblem {
  return failure(
    `DATAGROK_ISSUER is ${issuer}, but the server calls itself ${webRoot}.`,
    "Unset DATAGROK_ISSUER, or set it to the issuer (iss) of the server's tokens.",
  );
}

function refusedToken({ message }: Fault): CheckProblem {
  return failure(
    `berth would refuse a docker token of that server: ${message}.`,
    "Compare DATAGROK_ISSUER and BERTH_REGISTRY_SERVICE with its claims iss and aud, and the server's /docker/keys with its kid.",
  );
}

function bare(address: string): string {
  return trimTrailing(address, "/");
}

const MAX_LISTED = 20;
const CONNECTIONS = 1;
const REMOVE_TIMEOUT = "Remove shutdown_timeout from their container.json, or let berth's own control run them.";

/** Containers that a Datagrok server may stop in use, because it does not see their traffic. Needs a key of that server. */
export async function checkSleepers({ settings, key, clock }: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const { url } = settings.datagrok;
  if (url === undefined) return { unlooked: "DATAGROK_URL is not set" };
  if (key === undefined) return { unlooked: "a developer key of that server is needed: --key-file, or BERTH_DATAGROK_KEY" };
  const server = openDatagrokClient({ url, connections: CONNECTIONS, clock });
  try {
    const listed = await listPages(server, "/docker/containers", await signInWithKey(server, key, signal), signal);
    const affected = listed.flatMap(nameWhereStopped);
    const named = `${affected.slice(0, MAX_LISTED).join(", ")}${affected.length > MAX_LISTED ? " and others" : ""}`;
    const what = `The Datagrok server stops these containers by shutdown_timeout, even while requests pass through berth: ${named}.`;
    return {
      says: `${listed.length} containers, ${affected.length} with shutdown_timeout`,
      problems: affected.length === 0 ? [] : [warning(what, REMOVE_TIMEOUT)],
    };
  } finally {
    server.close();
  }
}

/** An unreadable container fails where it is called. */
function nameWhereStopped(entity: unknown): string[] {
  try {
    const { view, shutdownMinutes } = readContainer(entity);
    return shutdownMinutes === undefined ? [] : [view.name];
  } catch (error) {
    if (error instanceof Fault) return [];
    throw error;
  }
}
