import { mapCookies, unquotedCookie } from "../../lib/cookies.ts";
import type { Head, HeaderEdits, HeaderLine } from "../decision.ts";
import type { Caller } from "../contract.ts";
import { isSessionShaped, type SignedIn } from "./authenticate.ts";

/** Cookies of berth's own consoles. A browser sends a host's cookies to all of its ports; nothing behind the edge is to have them. */
export const CONSOLE_COOKIES: readonly string[] = ["berth-console", "berth-registry"];

/**
 * The edits by which a container gets derived tokens in place of sessions' own, wherever those stand: in `x-user-api-key`, `Authorization` and the cookies `auth`. The
 * first of them is added as `x-user-api-key` where the caller set none. What is no session's token stays as it is, but for the consoles' cookies. Without derived
 * tokens (in front of a Datagrok server) the caller's own token goes on.
 */
export function credentialEdits({ header }: Head, { caller, others, judged }: SignedIn): HeaderEdits {
  const remove: string[] = [];
  const add: HeaderLine[] = [];
  const replace = (name: string, written: string, value: string | undefined) => {
    const changed = value === undefined ? undefined : withDerived(withDerived(value, caller), others);
    if (changed === value) return;
    remove.push(name);
    if (changed !== undefined) add.push([written, changed]);
  };
  const key = header("x-user-api-key");
  replace("authorization", "Authorization", header("authorization"));
  const cookie = header("cookie");
  const kept = cookie === undefined ? undefined : cookiesToSend(cookie, { caller, others, judged });
  if (kept !== cookie) {
    remove.push("cookie");
    if (kept !== undefined && kept !== "") add.push(["Cookie", kept]);
  }
  if (key === undefined) add.push(["x-user-api-key", caller.derivedToken ?? caller.token]);
  else replace("x-user-api-key", "x-user-api-key", key);
  return { remove, add };
}

/** The cookies without those of berth's consoles. */
export function withoutConsoleCookies(cookie: string): string {
  if (!CONSOLE_COOKIES.some((name) => cookie.includes(name))) return cookie;
  return mapCookies(cookie, (name, value) => (CONSOLE_COOKIES.includes(name) ? undefined : value));
}

function cookiesToSend(cookie: string, { caller, others, judged }: Pick<SignedIn, "caller" | "others" | "judged">): string {
  const own = withoutConsoleCookies(cookie);
  if (caller.derivedToken === undefined || !own.includes("auth")) return own;
  return mapCookies(own, (name, value) => {
    if (name !== "auth") return value;
    const token = unquotedCookie(value);
    const holder = token === caller.token ? caller : others.find((other) => other.token === token);
    if (holder !== undefined) return holder.derivedToken ?? value;
    // There are more than are looked at, and this may be a session's token: it was not looked up.
    return isSessionShaped(token) && !judged.includes(token) ? undefined : value;
  });
}

function withDerived(value: string, holders: Caller | readonly Caller[]): string {
  let changed = value;
  for (const { token, derivedToken } of "token" in holders ? [holders] : holders)
    if (derivedToken !== undefined && changed.includes(token)) changed = changed.replaceAll(token, derivedToken);
  return changed;
}
