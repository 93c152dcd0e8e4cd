import { createHash } from "node:crypto";
import { FAULTS, type Fault } from "../../lib/fault.ts";
import type { DirectResponse, HeaderLine, Head } from "../decision.ts";
import type { ContainerView, Directory, Caller } from "../contract.ts";
import { wakeDecisionFor } from "../containers/hold.ts";
import type { Clock } from "../../lib/clock.ts";

/** The style and script, which are inlined. */
export type PageFiles = { css: string; js: string };

/** When a browser without scripts reloads the page. */
const RELOAD_SECONDS = 3;

/** A page that shows the progress of a start, and then loads the response. It loads no other resource, and no other script may run in it. */
function createPageResponse({ css, js }: PageFiles): (view: Pick<ContainerView, "name">, progress: StartProgress) => DirectResponse {
  const policy = [
    "default-src 'none'",
    `style-src '${hashOf(css)}'`,
    `script-src '${hashOf(js)}'`,
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  return ({ name }, progress) => {
    const body = html(name, progress, css, js);
    const status = progress.fault?.status ?? 503;
    const headers: HeaderLine[] = [
      ["Content-Type", "text/html; charset=utf-8"],
      ["Content-Length", String(Buffer.byteLength(body))],
      ["Content-Security-Policy", policy],
      ["X-Content-Type-Options", "nosniff"],
      ["Referrer-Policy", "no-referrer"],
      ["Cache-Control", "no-store"],
      ["Retry-After", String(Math.max(RELOAD_SECONDS, Math.ceil((progress.fault?.retryAfterMs ?? 0) / 1_000)))],
    ];
    return { status, reason: progress.fault?.reason ?? FAULTS.CONTAINER_ASLEEP[1], headers, body };
  };
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
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escaped(name)} ${failed ? "did not start" : "is starting"}</title>
${failed ? "" : `<noscript><meta http-equiv="refresh" content="${RELOAD_SECONDS}"></noscript>`}
<style>${css}</style>
</head>
<body>
<main${failed ? ' class="failed"' : ""}>
<h1>${escaped(name)}</h1>
<p id="says" role="status">${escaped(says)}</p>
<progress aria-label="Starting"${bar}></progress>
<ol>${items.join("")}</ol>
<p class="time"><span id="elapsed"></span> <span id="usual">${usualText(progress)}</span></p>
<div class="failure">
<pre id="logs" tabindex="0" aria-label="Its last lines">${escaped(logs.join("\n"))}</pre>
<a role="button" href="">Try again</a>
</div>
</main>
<script>${js}</script>
</body>
</html>
`;
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
  return { state: "failed", step: "start", says: message, logs, ...(decision.kind === "refuse" ? { fault: decision.fault } : {}) };
}

/** `4 s`: a start that takes less than a second is not worth a number. */
function usualText({ usualMs }: Pick<StartProgress, "usualMs">): string {
  return usualMs === undefined ? "" : `The last start took ${Math.max(1, Math.round(usualMs / 1_000))} s.`;
}

/** The response to a browser that opens a container that is not awake; undefined for every other request, which is held. */
export type WaitingPage = (head: Head, view: ContainerView, caller: Caller) => DirectResponse | undefined;

/** The page requests the progress with it. Only scripts of the same or a permitted origin can set it. */
const PROGRESS_HEADER = "x-berth-progress";

/** The page shows the result of the wake, so nothing waits for it. */
const NEVER = new AbortController().signal;

export function createWaitingPage({ directory, clock, files }: { directory: Directory; clock: Clock; files: PageFiles }): WaitingPage {
  const page = createPageResponse(files);
  return (head, view, caller) => {
    if (head.method !== "GET" || head.upgrade) return undefined;
    if (head.header(PROGRESS_HEADER) !== undefined) return progressResponse(view, clock.now());
    const { kind } = view.availability;
    // It runs, and the check of its address takes a moment.
    if (kind === "coming" && view.availability.step === "check") return undefined;
    if ((kind !== "asleep" && kind !== "coming" && kind !== "failed") || !isNavigation(head)) return undefined;
    const progress = progressOf(view, clock.now());
    if (kind === "asleep" || (progress.state === "failed" && progress.fault === undefined)) {
      directory.wake(view.id, caller, NEVER).catch(() => undefined);
      return page(view, progressOf({ ...view, availability: { kind: "asleep" } }, clock.now()));
    }
    return page(view, progress);
  };
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
