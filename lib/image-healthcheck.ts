/** An image's `HEALTHCHECK`, as in its configuration. */
type Healthcheck = { test: readonly string[]; timeoutMs?: number; intervalMs?: number };

/** A health check as a GET of the container's own port, without a shell in the container. */
export type HttpHealthcheck = { kind: "http"; path: string; port: number; intervalMs: number; timeoutMs: number };

/** The engine's defaults: docs.docker.com/reference/dockerfile/#healthcheck. */
const INTERVAL_MS = 30_000;
const TIMEOUT_MS = 30_000;
/** Longer commands are scripts. */
const MAX_LENGTH = 4_096;

/**
 * The HTTP request that the check sends to the container itself: `curl -f http://localhost:8000/health || exit 1`, `wget -q --spider …`, as words or as a line
 * for the shell. Undefined if it does anything else, such as a request with headers of its own.
 */
export function readinessOfHealthcheck({ test, intervalMs = INTERVAL_MS, timeoutMs = TIMEOUT_MS }: Healthcheck): HttpHealthcheck | undefined {
  const words = commandOf(test);
  const [program = "", ...args] = words ?? [];
  const tool = TOOLS[program.slice(program.lastIndexOf("/") + 1)];
  const written = tool && urlOf(args, tool);
  const target = written === undefined ? undefined : parseTarget(written);
  return target && { kind: "http", ...target, intervalMs, timeoutMs };
}

/** The words of the command. Undefined for a line that needs a shell. */
function commandOf([form = "", ...rest]: readonly string[]): readonly string[] | undefined {
  if (rest.reduce((sum, word) => sum + word.length, 0) > MAX_LENGTH) return undefined;
  if (form === "CMD-SHELL") return parseLine(rest[0] ?? "");
  if (form !== "CMD") return undefined;
  const isShell = /^(\/(usr\/)?bin\/)?(sh|bash|ash|dash)$/.test(rest[0] ?? "") && /^-[el]*c$/.test(rest[1] ?? "");
  return isShell ? parseLine(rest[2] ?? "") : rest;
}

/** A failure of the command, as the check's own. */
const FAILURES = /^(exit [1-9]\d{0,2}|false|\/bin\/false)$/;
/** Where the output goes does not change the result. */
const REDIRECT = /^(\d|&)?>>?(\/dev\/null|&\d)?$/;

/** The words of one simple command. Undefined if the line has several commands, variables, or anything else that only a shell can do. */
function parseLine(line: string): string[] | undefined {
  const [command = "", failure, ...more] = line.split("||");
  const isPlain = failure === undefined || FAILURES.test(failure.replace(";", "").trim().replaceAll(/\s+/g, " "));
  const words = isPlain && more.length === 0 ? splitWords(command) : undefined;
  if (!words) return undefined;
  const result: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const { text, special } = words[at] as ShellWord;
    if (special && REDIRECT.test(text)) {
      if (text.endsWith(">") && words[++at]?.text !== "/dev/null") return undefined;
    } else if (special) return undefined;
    else result.push(text);
  }
  return result;
}

/** `special`: it has a character outside quotes that a shell does not take as it is. */
type ShellWord = { text: string; special: boolean };

function splitWords(line: string): ShellWord[] | undefined {
  const words: ShellWord[] = [];
  let word: ShellWord | undefined;
  let quote = "";
  for (const character of line) {
    if (quote === "" && /\s/.test(character)) {
      word = undefined;
      continue;
    }
    if (!word) words.push((word = { text: "", special: false }));
    if (character === quote) quote = "";
    else if (quote === "" && (character === "'" || character === '"')) quote = character;
    else {
      word.text += character;
      if (quote !== "'") word.special ||= (quote === "" ? "\\$`|&;<>(){}*#~" : "\\$`").includes(character);
    }
  }
  return quote === "" ? words : undefined;
}

/** The options without and with a value that do not change the request. Any other option makes the check one of its own kind. */
type HttpTool = { flags: RegExp; withValue: RegExp; isStrict(args: readonly string[]): boolean };

const TOOLS: Readonly<Record<string, HttpTool>> = {
  curl: {
    // Without it curl succeeds at any response, such as 503.
    isStrict: (args) => args.some((arg) => (/^-[^-]/.test(arg) ? arg.includes("f") : ["--fail", "--fail-with-body"].includes(arg))),
    flags:
      /^(-[fsSIgiLkvq46]+|--(fail|fail-with-body|silent|show-error|head|include|location|insecure|verbose|globoff|ipv4|ipv6|no-progress-meter|http1\.1))$/,
    withValue: /^(-[fsSIgiLkvq46]*[omAw]|--(output|max-time|connect-timeout|user-agent|write-out|noproxy|retry|retry-delay|retry-max-time))$/,
  },
  wget: {
    isStrict: () => true,
    flags:
      /^(-[qSv]+|-nv|--(quiet|spider|no-verbose|server-response|no-check-certificate|no-cache|no-proxy|inet4-only|inet6-only)|-q?O-|-Y(off|no)?)$/,
    withValue: /^(-q?[OtTU]|--(output-document|tries|timeout|user-agent|connect-timeout|read-timeout))$/,
  },
};

/** The only argument that is no option, if all options are known. */
function urlOf(args: readonly string[], { flags, withValue, isStrict }: HttpTool): string | undefined {
  const urls: string[] = [];
  for (let at = 0; at < args.length; at++) {
    const arg = args[at] as string;
    const [name = "", value] = arg.startsWith("--") ? arg.split(/=(.*)/s, 2) : [arg];
    if (!arg.startsWith("-") || arg === "-") urls.push(arg);
    else if (withValue.test(name)) at += value === undefined ? 1 : 0;
    else if (!flags.test(arg)) return undefined;
  }
  return urls.length === 1 && isStrict(args) ? urls[0] : undefined;
}

const OWN_HOST = /^(localhost|localhost\.localdomain|ip6-localhost|127(\.\d{1,3}){3}|0\.0\.0\.0|\[::1?\])$/;

/** Undefined for another host than the container itself, and for TLS. */
function parseTarget(written: string): { path: string; port: number } | undefined {
  const url = URL.parse(/^[a-z]+:\/\//i.test(written) ? written : `http://${written}`);
  if (url?.protocol !== "http:" || !OWN_HOST.test(url.hostname) || url.username !== "" || url.password !== "") return undefined;
  return { path: url.pathname + url.search, port: Number(url.port || 80) };
}
