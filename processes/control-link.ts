import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import type { Settings } from "../conf/settings.ts";
import { GATEWAY_TOKEN_FILE } from "../gateway/contract.ts";
import { type ControlLink, localControl, remoteControl } from "../gateway/feed/control-client.ts";
import { controlGroup, type ControlMember } from "../gateway/feed/control-group.ts";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import { isLoopback } from "./listeners.ts";
import type { RuntimeFolder } from "./runtime-folder.ts";

/** The token's file is read again after this time, so that a new token needs no restart. */
const READ_AGAIN_MS = 5_000;
/** The same while there is none: a control process that starts writes it soon. */
const MISSING_MS = 200;

/** The control plane on other machines that the settings name; undefined where they name none. Faults: SETTINGS_INVALID. */
export function configuredControlLink({ control }: Settings, clock: Clock): ControlLink | undefined {
  if (control.url.length === 0) return undefined;
  const members = controlMembers(control, tokenOf(control, clock));
  const [only] = members;
  const isSingle = members.length === 1 && only?.name === undefined && !control.wait;
  return isSingle ? only?.linkTo(undefined) : controlGroup(members, clock, undefined, control.wait);
}

/**
 * The control plane of a process that has a control process beside it in `berth serve`: that one, and among several on one database those of the other
 * machines too. Faults: SETTINGS_INVALID.
 */
export function serveControlLink({ settings, runtime, clock }: { settings: Settings; runtime: RuntimeFolder; clock: Clock }): ControlLink {
  const { control, database, data } = settings;
  const local = localControl(runtime);
  if (database.url === undefined) return local;
  const hasToken = control.token !== undefined || control.tokenFile !== undefined;
  const token = hasToken ? tokenOf(control, clock) : cachedToken(() => loadSharedToken(join(data, GATEWAY_TOKEN_FILE)), "", clock);
  return controlGroup([{ name: undefined, linkTo: () => local }, ...controlMembers(control, token)], clock);
}

function controlMembers(control: Settings["control"], token: () => string): ControlMember[] {
  const places = control.url.map((url) => controlPlace(url, control.plain));
  const ca = control.ca === undefined ? undefined : loadText(control.ca, "BERTH_CONTROL_CA");
  const fingerprint = control.fingerprint?.replaceAll(":", "").toLowerCase();
  return places.map(({ host, port, isSecure }) => {
    const isName = isIP(host) === 0;
    const secured = isSecure ? { servername: isName ? host : "", ca, fingerprint } : undefined;
    return { name: isName ? host : undefined, linkTo: (address) => remoteControl({ host: address ?? host, port, secured, token }) };
  });
}

function controlPlace(url: string, isPlainAllowed: boolean): { host: string; port: number; isSecure: boolean } {
  const { protocol, hostname, port, pathname, search, username } = new URL(url);
  if (pathname !== "/" || search !== "" || username !== "")
    throw invalid("BERTH_CONTROL is scheme, host and port alone, such as https://berth.internal:8443.");
  const host = hostname.replace(/^\[|\]$/g, "");
  const isSecure = protocol === "https:";
  if (!isSecure && !isPlainAllowed && !isLoopback(host))
    throw invalid(`The way to ${url} would not be encrypted: have it speak https, or set BERTH_CONTROL_PLAIN=on where the network encrypts.`);
  return { host, port: Number(port) || (isSecure ? 443 : 80), isSecure };
}

/** Faults: SETTINGS_INVALID, also without a token. */
function tokenOf(control: Settings["control"], clock: Clock): () => string {
  const token = configuredToken(control, clock);
  if (token !== undefined) return token;
  throw invalid(
    "No token to join with: set BERTH_CONTROL_TOKEN_FILE, or BERTH_CONTROL_TOKEN, to what `berth gateways token` prints where control runs.",
  );
}

/** The gateways' token of the settings, from its file if they name one; undefined: they have none. Faults: SETTINGS_INVALID. */
export function configuredToken({ token, tokenFile }: Settings["control"], clock: Clock): (() => string) | undefined {
  if (token !== undefined && tokenFile !== undefined)
    throw invalid("BERTH_CONTROL_TOKEN and BERTH_CONTROL_TOKEN_FILE are set: one of them is enough.");
  if (token !== undefined) return () => token;
  if (tokenFile === undefined) return undefined;
  return cachedToken(() => loadToken(tokenFile), loadToken(tokenFile), clock);
}

/** Reads the token again every few seconds. If that fails, the last one stays: its file may be replaced at this moment, and control reports a wrong token. */
function cachedToken(load: () => string, first: string, clock: Clock): () => string {
  let current = first;
  let readAt = first === "" ? undefined : clock.monotonic();
  return () => {
    if (readAt !== undefined && clock.monotonic() - readAt < (current === "" ? MISSING_MS : READ_AGAIN_MS)) return current;
    readAt = clock.monotonic();
    try {
      current = load();
    } catch {
      // As above.
    }
    return current;
  };
}

function loadToken(path: string): string {
  const token = loadText(path, "BERTH_CONTROL_TOKEN_FILE").trim();
  if (!/^[0-9a-f]{64}$/.test(token)) throw invalid(`The file ${path} (BERTH_CONTROL_TOKEN_FILE) does not hold what \`berth gateways token\` prints.`);
  return token;
}

/** The newest token in the data folder, which control writes there from the database. */
function loadSharedToken(path: string): string {
  const [, token] = /^([0-9a-f]{64})$/m.exec(readFileSync(path, "utf8")) ?? [];
  if (token === undefined) throw invalid(`The file ${path} has no token of the gateways.`);
  return token;
}

function loadText(path: string, setting: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Fault(
      "SETTINGS_INVALID",
      `The file ${path} (${setting}) cannot be read: ${(cause as NodeJS.ErrnoException).code ?? "no reason given"}.`,
      { cause },
    );
  }
}

function invalid(sentence: string): Fault {
  return new Fault("SETTINGS_INVALID", sentence);
}
