import { createHash } from "node:crypto";
import { FAULTS, type Fault } from "../../lib/fault.ts";
import type { DirectResponse, HeaderLine, Head } from "../decision.ts";
import { containerErrorResponse } from "../direct-responses.ts";
import type { ContainerView, Directory, Caller } from "../contract.ts";
import { wakeDecisionFor } from "../containers/hold.ts";
import type { Clock } from "../../lib/clock.ts";
import { plainLogText } from "../../lib/plain-log-text.ts";

/** The style and script, which are inlined. */
export type PageFiles = { css: string; js: string };

/** When a browser without scripts reloads the page. */
const RELOAD_SECONDS = 3;

/** A page that shows the progress of a start, and then loads the response. It loads no other resource, and no other script may run in it. */
function createPageResponse({ css, js }: PageFiles): (view: Pick<ContainerView, "name">, progress: StartProgress) => DirectResponse {
  const policy = policyOf(css, `script-src '${hashOf(js)}'`, "connect-src 'self'");
  return ({ name }, progress) => {
    const body = html(name, progress, css, js);
    const status = progress.fault?.status ?? 503;
    const headers: HeaderLine[] = [
      ...pageHeaders(body, policy),
      ["Cache-Control", "no-store"],
      ["Retry-After", String(Math.max(RELOAD_SECONDS, Math.ceil((progress.fault?.retryAfterMs ?? 0) / 1_000)))],
    ];
    return { status, reason: progress.fault?.reason ?? FAULTS.CONTAINER_ASLEEP[1], headers, body };
  };
}

/** A page that says why there is no response: the same status and headers as for programs, which get JSON. */
function createErrorResponse({ css }: PageFiles): (fault: Fault) => DirectResponse {
  const policy = policyOf(css);
  return (fault) => {
    const { logs = [] } = fault;
    const lines = logs.length === 0 ? "" : `${logTail(logs)}\n`;
    const retry = fault.status >= 500 || fault.status === 429 ? '<p><a role="button" href="">Try again</a></p>\n' : "";
    const body = htmlDocument(
      fault.reason,
      css,
      `<main>\n<h1>${escaped(fault.reason)}</h1>\n<p>${marked(fault.message)}</p>\n${lines}${retry}<p class="time"><code>${fault.code}</code></p>\n</main>`,
    );
    const { status, reason, headers } = containerErrorResponse(fault);
    return { status, reason, headers: [...pageHeaders(body, policy), ...headers.filter(([name]) => !name.startsWith("Content-"))], body };
  };
}

function policyOf(css: string, ...more: string[]): string {
  return ["default-src 'none'", `style-src '${hashOf(css)}'`, ...more, "img-src data:", "base-uri 'none'", "form-action 'none'"].join("; ");
}

function pageHeaders(body: string, policy: string): HeaderLine[] {
  return [
    ["Content-Type", "text/html; charset=utf-8"],
    ["Content-Length", String(Buffer.byteLength(body))],
    ["Content-Security-Policy", policy],
    ["X-Content-Type-Options", "nosniff"],
    ["Referrer-Policy", "no-referrer"],
  ];
}

/** The icon of the console. A page that waits must not request another resource of the container's address. */
const ICON =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='%231d6fb8' d='M1 9h14l-2.2 4.4a1 1 0 0 1-.9.6H4.1a1 1 0 0 1-.9-.6zM3 4h3v4H3zm4-2h3v6H7zm4 2h2v4h-2z'/%3E%3C/svg%3E";

/** `head` and `body`: HTML. */
function htmlDocument(title: string, css: string, body: string, head = ""): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escaped(title)}</title>
<link rel="icon" href="${ICON}">
${head}<style>${css}</style>
</head>
<body>
${body}
</body>
</html>
`;
}

function html(name: string, progress: StartProgress, css: string, js: string): string {
  const { state, step, says, pull, logs } = progress;
  const failed = state === "failed";
  const bar = pull && pull.total > 0 ? ` value="${pull.done}" max="${pull.total}"` : "";
  const words = Object.keys(STEPS);
  const items = Object.entries(STEPS).map(([word, text]) => {
    const mark = word === step ? ' aria-current="step"' : words.indexOf(word) < words.indexOf(step) ? ' class="done"' : "";
    return `<li data-step="${word}"${mark}>${text}</li>`;
  });
  return htmlDocument(
    `${name} ${failed ? "did not start" : "is starting"}`,
    css,
    `<main${failed ? ' class="failed"' : ""}>
<h1>${escaped(name)}</h1>
<p id="says" role="status">${escaped(says)}</p>
<progress aria-label="Starting"${bar}></progress>
<ol>${items.join("")}</ol>
<p class="time"><span id="elapsed"></span> <span id="usual">${usualText(progress)}</span></p>
<div class="failure">
${logTail(logs)}
<a role="button" href="">Try again</a>
</div>
</main>
<script>${js}</script>`,
    failed ? "" : `<noscript><meta http-equiv="refresh" content="${RELOAD_SECONDS}"></noscript>\n`,
  );
}

/** A message, in which code stands in backticks. */
function marked(message: string): string {
  return escaped(message).replace(/`([^`]*)`/g, "<code>$1</code>");
}

function logTail(logs: readonly string[]): string {
  return `<pre id="logs" tabindex="0" aria-label="Its last lines">${escaped(plainLogText(logs.join("\n")))}</pre>`;
}

/** For text and for values in quotes. */
function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function hashOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}

/** In this order. */
const STEPS = {
  queue: "Waiting for its image and its turn",
  pull: "Pulling its image",
  start: "Starting",
  boot: "Waiting for the application to accept connections",
  check: "Checking its address",
} as const;
type StartStepName = keyof typeof STEPS;

/** The progress of a start. `ready`: the next request gets a response instead of this page. */
type StartProgress = {
  state: "asleep" | "waiting" | "ready" | "failed";
  step: StartStepName;
  says: string;
  /** Of the image's pull, in bytes. */
  pull?: { done: number; total: number };
  /** How long the last start took, in ms. */
  usualMs?: number;
  logs: readonly string[];
  fault?: Fault;
};

const MEGABYTE = 1_000_000;

function describePull({ done, total }: { done: number; total: number }): string {
  const megabytes = (bytes: number) => (bytes / MEGABYTE).toFixed(bytes < 10 * MEGABYTE ? 1 : 0);
  return total > 0 ? `${STEPS.pull}: ${megabytes(done)} of ${megabytes(total)} MB` : `${STEPS.pull} …`;
}

/** `now` is epoch ms. */
function progressOf(view: ContainerView, now: number): StartProgress {
  const { availability, start } = view;
  const usual = start === undefined ? {} : { usualMs: Math.round(start.create + start.boot) };
  const waits = (state: "asleep" | "waiting", step: StartStepName, note?: string): StartProgress => ({
    state,
    step,
    says: note === undefined ? `${STEPS[step]} …` : `${STEPS[step]} … ${note}`,
    ...usual,
    logs: [],
  });
  if (availability.kind === "asleep") return waits("asleep", "queue");
  if (availability.kind === "coming") {
    const { step = "queue", phase, pull, note } = availability;
    if (step === "start" && pull) return { ...waits("waiting", "pull"), says: describePull(pull), pull };
    return waits("waiting", step === "start" && phase === "boot" ? "boot" : step, note);
  }
  if (availability.kind !== "failed") return { state: "ready", step: "start", says: "Started", logs: [] };
  // A request may retry the start, but this page shows why the last one failed.
  const decision = wakeDecisionFor(view, now);
  const { message, logs = [] } = availability.fault;
  return {
    state: "failed",
    step: "start",
    says: message,
    logs: logs.map(plainLogText),
    ...(decision.kind === "refuse" ? { fault: decision.fault } : {}),
  };
}

/** `4 s`: a start that takes less than a second is not worth a number. */
function usualText({ usualMs }: Pick<StartProgress, "usualMs">): string {
  return usualMs === undefined ? "" : `The last start took ${Math.max(1, Math.round(usualMs / 1_000))} s.`;
}

export type WaitingPage = {
  /** The response to a browser that opens a container that is not awake; undefined for every other request, which is held. */
  respond(head: Head, view: ContainerView, caller: Caller): DirectResponse | undefined;
  /** The response to a browser whose request is refused or fails; undefined for every other client. */
  refuse(head: Head, fault: Fault): DirectResponse | undefined;
};

/** The page requests the progress with it. Only scripts of the same or a permitted origin can set it. */
const PROGRESS_HEADER = "x-berth-progress";

/** The page shows the result of the wake, so nothing waits for it. */
const NEVER = new AbortController().signal;

export function createWaitingPage({ directory, clock, files }: { directory: Directory; clock: Clock; files: PageFiles }): WaitingPage {
  const page = createPageResponse(files);
  const errorPage = createErrorResponse(files);
  const respond: WaitingPage["respond"] = (head, view, caller) => {
    if (head.method !== "GET" || head.upgrade) return undefined;
    if (head.header(PROGRESS_HEADER) !== undefined) return progressResponse(view, clock.now());
    const { kind } = view.availability;
    // It runs, and the check of its address takes a moment.
    if (kind === "awake" || (kind === "coming" && view.availability.step === "check") || !isNavigation(head)) return undefined;
    if (kind === "stopped" || kind === "portless") {
      const decision = wakeDecisionFor(view, clock.now());
      return decision.kind === "refuse" ? errorPage(decision.fault) : undefined;
    }
    const progress = progressOf(view, clock.now());
    if (kind === "asleep" || (progress.state === "failed" && progress.fault === undefined)) {
      directory.wake(view.id, caller, NEVER).catch(() => undefined);
      return page(view, progressOf({ ...view, availability: { kind: "asleep" } }, clock.now()));
    }
    return page(view, progress);
  };
  return { respond, refuse: (head, fault) => (head.method === "GET" && isNavigation(head) ? errorPage(fault) : undefined) };
}

/** A user opens an address or follows a link, and would see an empty window until the response. */
export function isNavigation(head: Pick<Head, "header">): boolean {
  return head.header("sec-fetch-mode") === "navigate" && head.header("accept")?.includes("text/html") === true;
}

function progressResponse(view: ContainerView, now: number): DirectResponse {
  const { state, step, says, pull, usualMs, logs } = progressOf(view, now);
  const body = JSON.stringify({ state, step, says, pull, usualMs, logs });
  return {
    status: 200,
    reason: "OK",
    headers: [
      ["Content-Type", "application/json"],
      ["Content-Length", String(Buffer.byteLength(body))],
      ["Cache-Control", "no-store"],
    ],
    body,
  };
}
