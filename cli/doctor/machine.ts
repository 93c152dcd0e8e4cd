import { decodeJwt } from "jose";
import { ask } from "./send-request.ts";
import { at, type Chain } from "./check.ts";
import { askDockerToken } from "./docker-token.ts";
import { type Finding, type Problem, wrong } from "./finding.ts";

/** Tokens are taken by servers whose clocks differ by a minute; half of that is for theirs. */
const MOST_SKEW_MS = 30_000;
const SET_CLOCK = "Set the clock that is wrong by NTP: here `timedatectl status`, there the same.";

/** This machine's time against that of those it speaks to, and of the tokens that they make. */
export async function checkClock(chain: Chain, signal: AbortSignal): Promise<Finding> {
  const { settings, server, clock, key } = chain;
  const asked = [at(server, "/api/info/server"), ...(settings.datagrok.url === undefined ? [] : [`${settings.datagrok.url}/info/server`])];
  const problems: Problem[] = [];
  const seen: number[] = [];
  const look = (who: string, skewMs: number) => {
    seen.push(Math.abs(skewMs));
    if (Math.abs(skewMs) > MOST_SKEW_MS)
      problems.push(wrong(`${who} is ${Math.abs(skewMs / 1_000).toFixed(0)} s ${skewMs > 0 ? "ahead of" : "behind"} this machine.`, SET_CLOCK));
  };
  for (const url of asked) {
    const before = clock.now();
    // Whose certificate it is, is another link's matter, and a clock that is wrong makes each look wrong.
    const { headers } = await ask(url, { signal, certificate: "any" }).catch(() => ({ headers: {} as Record<string, string> }));
    signal.throwIfAborted();
    const told = Date.parse(String(headers["date"]));
    // A Date has whole seconds, rounded down.
    if (Number.isFinite(told)) look(`The clock behind ${new URL(url).host}`, told + 500 - (before + clock.now()) / 2);
  }
  const tokens = settings.datagrok.url ?? at(server, "/api");
  const token = key && (await askDockerToken(`${tokens}/docker/token`, { key, service: settings.registry.service, signal }).catch(() => undefined));
  signal.throwIfAborted();
  if (token !== undefined) {
    const { nbf, iat, exp } = decodeJwt(token);
    const begun = nbf ?? iat;
    if (begun !== undefined) look("The clock that docker tokens are made by", begun * 1_000 + 500 - clock.now());
    if (exp !== undefined && exp * 1_000 <= clock.now())
      problems.push(wrong("A docker token that was made just now has ended by this machine's clock.", SET_CLOCK));
  }
  if (seen.length === 0) return { unlooked: "nobody answered with a time" };
  return {
    says: `differs by ${(Math.max(...seen) / 1_000).toFixed(1)} s at most${token === undefined ? "; no docker token was to be had" : ""}`,
    problems,
  };
}
