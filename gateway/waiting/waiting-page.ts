import { createHash } from "node:crypto";
import { FAULTS } from "../../lib/fault.ts";
import type { Answer, HeaderLine } from "../decision.ts";
import type { ContainerView } from "../contract.ts";
import { type Progress, STEPS } from "./progress.ts";

/** Its style and its script, as they stand in the page. */
export type PageFiles = { css: string; js: string };

/** How soon a browser without scripts, and a crawler, comes back. */
const AGAIN_SECONDS = 3;

/** A page that tells how a start goes and goes on to the answer; nothing of it comes from anywhere else, and nothing else may run in it. */
export function waitingPage({ css, js }: PageFiles): (view: Pick<ContainerView, "name">, progress: Progress) => Answer {
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
      ["Retry-After", String(Math.max(AGAIN_SECONDS, Math.ceil((progress.fault?.retryAfterMs ?? 0) / 1_000)))],
    ];
    return { status, reason: progress.fault?.reason ?? FAULTS.CONTAINER_ASLEEP[1], headers, body };
  };
}

function html(name: string, { state, step, says, logs }: Progress, css: string, js: string): string {
  const failed = state === "failed";
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
${failed ? "" : `<noscript><meta http-equiv="refresh" content="${AGAIN_SECONDS}"></noscript>`}
<style>${css}</style>
</head>
<body>
<main${failed ? ' class="failed"' : ""}>
<h1>${escaped(name)}</h1>
<p id="says" role="status">${escaped(says)}</p>
<progress aria-label="Starting"></progress>
<ol>${items.join("")}</ol>
<div class="failure">
<pre id="logs" tabindex="0" aria-label="Its last lines">${escaped(logs.join("\n"))}</pre>
<button type="button">Try again</button>
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
