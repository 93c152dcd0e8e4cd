import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import type { Clock } from "../lib/clock.ts";
import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";
import { controlElsewhere, type ControlLink } from "../gateway/feed/control-link.ts";
import { isLoopback } from "./listening-handle.ts";

/** How old what was read of the token's file may be: whoever replaces the token need not start gateways anew. */
const READ_AGAIN_MS = 5_000;

/** The control plane on another machine that the settings name; undefined where they name none. Faults: SETTINGS_INVALID. */
export function remoteControl({ control }: Settings, clock: Clock): ControlLink | undefined {
  if (control.url === undefined) return undefined;
  const { protocol, hostname, port, pathname, search, username } = new URL(control.url);
  if (pathname !== "/" || search !== "" || username !== "")
    throw invalid("BERTH_CONTROL is scheme, host and port alone, such as https://berth.internal:8443.");
  const host = hostname.replace(/^\[|\]$/g, "");
  const isSecure = protocol === "https:";
  if (!isSecure && !control.plain && !isLoopback(host))
    throw invalid(`The way to ${control.url} would not be encrypted: have it speak https, or set BERTH_CONTROL_PLAIN=on where the network encrypts.`);
  return controlElsewhere({
    host,
    port: Number(port) || (isSecure ? 443 : 80),
    secured: isSecure
      ? {
          servername: isIP(host) === 0 ? host : "",
          ca: control.ca === undefined ? undefined : readText(control.ca, "BERTH_CONTROL_CA"),
          fingerprint: control.fingerprint?.replaceAll(":", "").toLowerCase(),
        }
      : undefined,
    token: tokenOf(control, clock),
  });
}

/** From the file where one is named. */
function tokenOf({ token, tokenFile }: Settings["control"], clock: Clock): () => string {
  if (token !== undefined && tokenFile !== undefined)
    throw invalid("BERTH_CONTROL_TOKEN and BERTH_CONTROL_TOKEN_FILE are set: one of them is enough.");
  if (token !== undefined) return () => token;
  if (tokenFile === undefined)
    throw invalid(
      "No token to join with: set BERTH_CONTROL_TOKEN_FILE, or BERTH_CONTROL_TOKEN, to what `berth gateways token` prints where control runs.",
    );
  let current = readToken(tokenFile);
  let readAt = clock.monotonic();
  return () => {
    if (clock.monotonic() - readAt < READ_AGAIN_MS) return current;
    readAt = clock.monotonic();
    try {
      current = readToken(tokenFile);
    } catch {
      // It is being replaced, perhaps; where the one before is no good any more, control says so.
    }
    return current;
  };
}

function readToken(path: string): string {
  const token = readText(path, "BERTH_CONTROL_TOKEN_FILE").trim();
  if (!/^[0-9a-f]{64}$/.test(token)) throw invalid(`The file ${path} (BERTH_CONTROL_TOKEN_FILE) does not hold what \`berth gateways token\` prints.`);
  return token;
}

function readText(path: string, setting: string): string {
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
